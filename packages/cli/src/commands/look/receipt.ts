import type { Command } from "commander";
import { addExamples } from "../../display/help.js";
import { addSettings, STATE, settingsOf, startLogAlone } from "../../settings/flags.js";
import { OptionError } from "../../settings/option-error.js";
import type { Exit } from "../options.js";

const actions = () => import("./receipt-actions.js");

/** `drover receipt …`: signed statements of what runs delivered. */
export function addReceipt(program: Command, exit: Exit): void {
  const receipt = addSettings(
    program
      .command("receipt")
      .description("a signed statement of what a run delivered: one JSON object a line, the last one signs")
      .usage("[options] RUN\n       drover receipt verify FILE --key PUB\n       drover receipt key")
      .argument("[run]", "its id, as much of the id's beginning as is unique, or latest")
      .option("--output <FILE>", "(default: standard output)"),
    STATE,
  ).action(async (run: string | undefined, flags: { output?: string }, command: Command) => {
    if (run === undefined) throw new OptionError("name the run that the receipt is of");
    exit(await (await actions()).receipt(run, flags, (await settingsOf(command)).values));
  });
  receipt
    .command("verify")
    .description("prove that a receipt is what the owner of a key signed; needs no Redis")
    .argument("<file>")
    .option("--key <PUB>", "file with the signer's public key, or its PEM; never taken from the receipt")
    .option("--files <DIR>", "also hold the delivered files against those below a directory")
    .option("--json", "as JSON")
    .action(
      async (file: string, flags: { key?: string; files?: string; json?: boolean }, command: Command) => {
        await startLogAlone(command);
        exit(await (await actions()).verify(file, flags));
      },
    );
  addSettings(
    receipt
      .command("key")
      .description("print the public key that receipts are verified with; made at its first use"),
    ["state-dir"],
  ).action(async (_flags: object, command: Command) => {
    exit(await (await actions()).key((await settingsOf(command)).values));
  });
  addExamples(receipt, [
    ["of the latest run", "drover receipt latest --output receipt.jsonl"],
    ["the key that proves it, for whoever is to verify", "drover receipt key > receipt.pub"],
    ["there", "drover receipt verify receipt.jsonl --key receipt.pub --files /srv/in"],
  ]);
}
