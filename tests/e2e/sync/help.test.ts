import { describe, expect } from "vitest";
import { hasTerminal } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";

/** Headings in the order of the text. */
const headings = (text: string) => [...text.matchAll(/^(\S.*):$/gm)].map(([, heading]) => heading);
const longest = (text: string) => Math.max(...text.split(/\r?\n/).map((line) => line.length));

describe("the help", () => {
  it("groups the commands, and ends with examples", async ({ box }) => {
    const { stdout } = await box.run(["--help"]);
    expect(headings(stdout)).toEqual([
      "Options",
      ...["Move files", "Runs", "Pairs that are synced both ways", "Fleets", "Over HTTP", "Mirrors"],
      ...["What is known and set", "Commands", "Examples"],
    ]);
    expect(longest(stdout)).toBeLessThanOrEqual(80);
  });

  it.for(["sync", "cp"])(
    "of %s groups all of its options, and ends with examples",
    async (command, { box }) => {
      const { stdout } = await box.run([command, "--help"]);
      expect(headings(stdout)).toEqual([
        ...["Arguments", "Options", "Sources and destination", "What is taken of directories and prefixes"],
        ...["What is overwritten and deleted", "How files are carried", "What is printed"],
        ...["Networks and credentials", "S3", "A fleet"],
        ...["Settings and state", "Global Options", "Examples"],
      ]);
      expect(longest(stdout)).toBeLessThanOrEqual(80);
      const [, rest = ""] = stdout.split("Settings and state:");
      expect(
        rest
          .split("Global")[0]
          ?.match(/^ {2}--[a-z-]+/gm)
          ?.map((flag) => flag.trim()),
      ).toEqual([
        ...["--backlog-high-water", "--keep-runs", "--keep-outcomes", "--keep-outcomes-for"],
        ...["--state-dir", "--config", "--profile"],
      ]);
      const [options = "", examples = ""] = stdout.split("Examples:");
      const lines = examples.match(/^ {2}drover .*/gm) ?? [];
      expect(lines.length).toBeGreaterThanOrEqual(2);
      for (const line of lines) {
        expect(line).toMatch(new RegExp(`^ {2}drover ${command} `));
        for (const flag of line.match(/--[a-z-]+/g) ?? [])
          expect(options).toContain(`  ${flag}`.replace("  --dry", ", --dry"));
      }
    },
  );

  it.skipIf(!hasTerminal)("is as wide as the terminal", async ({ box }) => {
    const { stdout } = await box.run(["sync", "--help"], { terminal: true });
    expect(longest(stdout)).toBeGreaterThan(80);
    expect(longest(stdout)).toBeLessThanOrEqual(100);
  });
});
