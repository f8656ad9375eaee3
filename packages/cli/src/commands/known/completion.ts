import { Argument, type Command } from "commander";
import { addExamples } from "../../display/help.js";
import { addSettings, STATE } from "../../settings/flags.js";
import type { Exit } from "../options.js";

/** `drover completion SHELL`, and the hidden command that its scripts ask what only Redis knows. */
export function addCompletion(program: Command, exit: Exit): void {
  const command = program
    .command("completion")
    .description("print a script that completes commands, options, runs and hosts in a shell")
    .addArgument(new Argument("<shell>", "which shell").choices(["bash", "zsh", "fish"]))
    .action(async (shell: "bash" | "zsh" | "fish") => {
      const { printCompletion } = await import("./completion-action.js");
      exit(printCompletion(program, shell));
    });
  addExamples(command, [
    ["in this bash, until it ends", 'eval "$(drover completion bash)"'],
    ["in fish, for good", "drover completion fish > ~/.config/fish/completions/drover.fish"],
  ]);
  addSettings(program.command("__complete", { hidden: true }), STATE)
    .argument("<what>")
    .argument("[word...]")
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .action(async (what: string, words: string[]) => {
      const { completeKnown } = await import("./complete-action.js");
      await completeKnown(what, words);
    });
}
