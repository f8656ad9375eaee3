import type { Command } from "commander";
import { addExamples } from "../../display/help.js";
import { startLogAlone } from "../../settings/flags.js";
import type { Exit } from "../options.js";
import type { FileManagerFlags } from "./file-manager-action.js";

/** `drover file-manager`: a small file manager, as a destination and as an example. */
export function addFileManager(program: Command, exit: Exit): void {
  const command = program
    .command("file-manager")
    .description("serve a directory as a file manager that filemanager+http:// destinations write to")
    .requiredOption("--root <DIR>", "directory of the files; it is made if need be")
    .option("--host <ADDRESS>", "address to listen on (default: 127.0.0.1)")
    .option("--port <N>", "port to listen on; 0 for any free one (default: 8001)")
    .option(
      "--token-file <FILE>",
      "file with the token that clients need (default: FILE_MANAGER_TOKEN, or none)",
    )
    .option("--max-file-size <SIZE>", "refuse larger files, e.g. 10GiB")
    .option(
      "--durability <HOW>",
      "fsync: a file is on the disk before it is confirmed; none (default: fsync)",
    )
    .option("-q, --quiet", "log errors alone");
  command.action(async (flags: FileManagerFlags, command: Command) => {
    await startLogAlone(command);
    const { serveFiles } = await import("./file-manager-action.js");
    exit(await serveFiles(flags));
  });
  addExamples(command, [
    ["a file manager for this machine alone", "drover file-manager --root /srv/files"],
    [
      "one for others, who know the token",
      "drover file-manager --root /srv/files --host 0.0.0.0 --token-file token.txt",
    ],
  ]);
}
