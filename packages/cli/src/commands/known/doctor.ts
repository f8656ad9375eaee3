import type { Command } from "commander";
import { addSettings, STATE, settingsOf } from "../../settings/flags.js";
import type { Exit } from "../options.js";

/** `drover doctor` */
export function addDoctor(program: Command, exit: Exit): void {
  const command = program
    .command("doctor")
    .description("say what is there, what is missing, and how to get it; changes nothing")
    .option("--online", "ask AWS for S3 credentials where the machine or a service would give them")
    .option("--json", "as JSON");
  addSettings(command, ["s3-endpoint", "s3-region", "s3-profile", "s3-anonymous", ...STATE]).action(
    async (flags: { online?: boolean; json?: boolean }, command: Command) => {
      const { values } = await settingsOf(command);
      const { doctor } = await import("./doctor-action.js");
      exit(await doctor(values, flags));
    },
  );
}
