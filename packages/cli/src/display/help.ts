import { type Command, Help, type HelpConfiguration, type Option } from "commander";
import { S3_KEYS, S3_OBJECTS } from "../settings/flags.js";

/** Headings of options in the order in which the help shows them. What is in none is under the last one. */
const GROUPS: [heading: string, names: string[]][] = [
  ["The service:", ["host", "port", "sqs", "visibility", "download-dir", "root", "insecure"]],
  ["The dashboard:", ["dashboard", "board-writes", "trusted-proxy", "proxy-user-header", "proxy-scope"]],
  [
    "Sources and destination:",
    [
      ...["to", "from-file", "base-url", "wildcards", "artifact-root", "script-name", "layout"],
      ...["name-from-header"],
      ...["checksum", "header", "recursive", "range"],
    ],
  ],
  [
    "What is taken of directories and prefixes:",
    [
      ...["pattern", "include", "exclude", "include-from", "exclude-from", "filter-from"],
      ...["min-size", "max-size", "min-age", "max-age", "copy-links"],
    ],
  ],
  [
    "What is overwritten and deleted:",
    [
      ...[
        "dry-run",
        "delete",
        "max-delete",
        "delete-excluded",
        "track-renames",
        "backup-dir",
        "suffix",
        "check-destination",
        "ignore-times",
      ],
      ...["update", "ignore-existing", "existing", "size-only", "checksum-only"],
    ],
  ],
  [
    "How files are carried:",
    [
      ...[
        "max-workers",
        "bwlimit",
        "streams",
        "max-file-size",
        "retries",
        "timeout",
        "backoff-factor",
        "resume",
      ],
      ...["circuit-ttl", "breaker-wait", "deadline", "stop-after-failures", "durability"],
      ...["max-bytes", "max-cost", "prices"],
      "permissions",
    ],
  ],
  [
    "What is printed:",
    ["long", "human", "summarize", "quiet", "verbose", "stats", "label", "json", "ndjson"],
  ],
  [
    "Networks and credentials:",
    ["user-agent", "netrc", "bearer-token-file", "ca-file", "client-cert", "client-key", "allow-address"],
  ],
  [
    "S3:",
    [
      ...["s3-profile", "s3-endpoint", "s3-region", "s3-bucket", "s3-anonymous", "s3-requester-pays"],
      ...["s3-path-style", "s3-checksums", "s3-dest-profile", "s3-dest-endpoint", "s3-dest-region"],
      ...S3_OBJECTS,
      ...S3_KEYS,
    ],
  ],
  ["A fleet:", ["redis", "detach", "host-limit", "concurrency", "drain-deadline", "health-port"]],
];
const REST = "Settings and state:";
const HEADINGS = [...GROUPS.map(([heading]) => heading), REST];

/** Descriptions begin behind this column; behind a longer term in the next line. */
const TERM_COLUMNS = 28;

/** Puts the options of a command, which are many, under headings. To be called when it has them all. */
export function groupOptions(command: Command): void {
  for (const option of command.options) {
    const name = (option.long ?? "").replace(/^--(no-)?/, "");
    option.helpGroup(GROUPS.find(([, names]) => names.includes(name))?.[0] ?? REST);
  }
}

/** A line that says what for, and the command line. */
export type Example = [what: string, line: string];
const EXAMPLES = new WeakMap<Command, Example[]>();

/** Adds examples at the end of a command's help. */
export function addExamples(command: Command, examples: Example[]): void {
  EXAMPLES.set(command, examples);
  const shown = examples.map(([what, line]) => `  # ${what}\n  ${line}`);
  command.addHelpText("after", `\nExamples:\n${shown.join("\n")}`);
}

/** The examples that a command's help ends with. */
export function examplesOf(command: Command): Example[] {
  return EXAMPLES.get(command) ?? [];
}

const { groupItems, formatItem } = Help.prototype;

/** How every command's help looks: headings in their order, lines no wider than the terminal, or 80 columns. */
export const HELP: HelpConfiguration = {
  showGlobalOptions: true,
  minWidthToWrap: 20,
  groupItems<T extends Command | Option>(unsorted: T[], visible: T[], getGroup: (item: T) => string) {
    const grouped = groupItems.call(this, unsorted, visible, getGroup as (item: Command | Option) => string);
    const groups = [...(grouped as Map<string, T[]>)];
    const place = (heading: string) => HEADINGS.indexOf(heading);
    if (groups.some(([heading]) => place(heading) >= 0))
      groups.sort(([one], [other]) => place(one) - place(other));
    return new Map(groups);
  },
  formatItem(term, termWidth, description, helper) {
    const width = Math.min(termWidth, TERM_COLUMNS);
    const format = (text: string) => formatItem.call(this, text, width, description, helper);
    return helper.displayWidth(term) <= width ? format(term) : `  ${term}\n${format("")}`;
  },
};
