import type { Command } from "commander";
import { addExamples } from "../../display/help.js";
import { loadDotEnv } from "../../settings/dot-env.js";
import {
  addSettings,
  PRICES,
  RUN,
  S3,
  S3_KEYS,
  S3_OBJECTS,
  STATE,
  settingsOf,
  startLogAlone,
  TRANSFER,
  without,
} from "../../settings/flags.js";
import type { Resolved } from "../../settings/settings.js";
import type { Exit } from "../options.js";
import type { DeadLetterFlags, MirrorFlags } from "./mirror-actions.js";

const CARRIES = without(RUN, [...PRICES, ...S3_OBJECTS, ...S3_KEYS]);
const LOOKS = [...TRANSFER, ...S3, ...STATE];

/** `drover mirror …`: keeps a destination as a prefix of a bucket is. */
export function addMirror(program: Command, exit: Exit): void {
  const mirror = program
    .command("mirror")
    .description("keep a destination as a prefix of a bucket is: by a full sync, then by events");
  const command = (name: string, description: string) =>
    mirror
      .command(name)
      .description(description)
      .option("--mirror <NAME>", "mirror of the settings file (default: its only one, else `default`)");
  const resolved = async (of: Command): Promise<Resolved> => {
    loadDotEnv();
    return await settingsOf(of);
  };
  const syncs = [
    ["initial-sync", "list all of the source, copy it, and record it"],
    ["incremental-sync", "follow the events that wait, and apply what differs"],
    ["reconcile", "find by a full listing what events missed, and repair it"],
  ] as const;
  for (const [name, description] of syncs)
    addSettings(command(name, description).option("--json", "the report as JSON"), CARRIES).action(
      async (flags: MirrorFlags, called: Command) => {
        const settings = await resolved(called);
        const { syncMirror } = await import("./mirror-actions.js");
        exit(await syncMirror(name, flags, settings));
      },
    );
  addSettings(command("daemon", "sync by the clock, until a signal"), [
    ...CARRIES,
    "concurrency",
    "drain-deadline",
  ]).action(async (flags: MirrorFlags, called: Command) => {
    const settings = await resolved(called);
    const { mirrorDaemon } = await import("./mirror-daemon.js");
    exit(await mirrorDaemon(flags, settings));
  });
  addSettings(command("status", "how the mirror stands").option("--json", "as JSON"), LOOKS).action(
    async (flags: MirrorFlags, called: Command) => {
      const settings = await resolved(called);
      const { mirrorStatus } = await import("./mirror-actions.js");
      exit(await mirrorStatus(flags, settings));
    },
  );
  addSettings(
    command("test", "check connections, a sync, an export and the final state, each step told"),
    CARRIES,
  ).action(async (flags: MirrorFlags, called: Command) => {
    const settings = await resolved(called);
    const { testMirror } = await import("./mirror-test.js");
    exit(await testMirror(flags, settings));
  });
  addSettings(
    command("replay", "put the events of a file among those that wait").argument(
      "<file>",
      "one event a line (JSON)",
    ),
    LOOKS,
  ).action(async (file: string, flags: MirrorFlags, called: Command) => {
    const settings = await resolved(called);
    const { replayFile } = await import("./mirror-actions.js");
    exit(await replayFile(file, flags, settings));
  });
  addSettings(
    command("dead-letters", "list events that could not be followed, or take them again")
      .argument("[id]", "this one alone")
      .option("--replay", "put it, or all of them, among the events that wait again")
      .option("--json", "as JSON"),
    LOOKS,
  ).action(async (id: string | undefined, flags: DeadLetterFlags, called: Command) => {
    const settings = await resolved(called);
    const { deadLetters } = await import("./mirror-actions.js");
    exit(await deadLetters(id, flags, settings));
  });
  addSettings(
    command("export", "write the state, sorted by path").option(
      "--output <FILE>",
      "(default: standard output)",
    ),
    LOOKS,
  ).action(async (flags: MirrorFlags & { output?: string }, called: Command) => {
    const settings = await resolved(called);
    const { exportMirror } = await import("./mirror-actions.js");
    exit(await exportMirror(flags, settings));
  });
  addSettings(
    command("import", "make an exported state known again; what is known already is kept").argument("<file>"),
    LOOKS,
  ).action(async (file: string, flags: MirrorFlags, called: Command) => {
    const settings = await resolved(called);
    const { importMirror } = await import("./mirror-actions.js");
    exit(await importMirror(file, flags, settings));
  });
  mirror
    .command("diff")
    .description("compare two exported states: added, removed, changed, renamed, permissions")
    .argument("<old>")
    .argument("<new>")
    .option("--json", "as JSON")
    .action(async (old: string, now: string, flags: { json?: boolean }, called: Command) => {
      await startLogAlone(called);
      const { diffCatalogs } = await import("../known/catalog-actions.js");
      exit(await diffCatalogs(old, now, flags));
    });
  addExamples(mirror, [
    ["the first sync of the mirror of the variables", "drover mirror initial-sync"],
    ["keep the mirror `reports` of drover.yaml up to date", "drover mirror daemon --mirror reports"],
    ["how it stands", "drover mirror status --json"],
  ]);
}
