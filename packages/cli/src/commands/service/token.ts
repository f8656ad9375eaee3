import { type Command, Option } from "commander";
import { addSettings, STATE, settingsOf } from "../../settings/flags.js";
import type { Exit, OutputFlags } from "../options.js";
import type { CreateFlags } from "./token-actions.js";

const SCOPES_HELP = "what it allows: read, enqueue, operate, notify, separated by commas";

/** `drover token create`, `list` and `revoke`: who may call the HTTP service. */
export function addToken(program: Command, exit: Exit): void {
  const token = program.command("token").description("tokens that open the HTTP service");
  const about = (name: string, description: string) =>
    addSettings(token.command(name).description(description), STATE);
  const actions = () => import("./token-actions.js");

  about("create", "make a token, and print it once")
    .argument("<name>", "what it is for")
    .addOption(new Option("--scopes <SCOPES>", SCOPES_HELP).default("read,enqueue"))
    .option("--expires <TIME>", "after which it ends, such as 90d (default: never)")
    .action(async (name: string, flags: CreateFlags, command: Command) => {
      exit(await (await actions()).create(name, flags, (await settingsOf(command)).values));
    });
  about("list", "list the tokens")
    .option("--json", "as JSON")
    .action(async (flags: OutputFlags, command: Command) => {
      exit(await (await actions()).list(flags, (await settingsOf(command)).values));
    });
  about("revoke", "end a token at once")
    .argument("<id>", "as drover token list shows it")
    .action(async (id: string, _flags: object, command: Command) => {
      exit(await (await actions()).revoke(id, (await settingsOf(command)).values));
    });
}
