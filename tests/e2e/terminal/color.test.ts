import { describe, expect } from "vitest";
import { hasTerminal } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";

const ESCAPE = "\u001b[";
const RED = `${ESCAPE}31m`;
const GREEN = `${ESCAPE}32m`;

describe("colours", () => {
  it("are not in a pipe, unless they are asked for, and then never in JSON", async ({ box, work }) => {
    const piped = await box.run(["doctor"]);
    expect(piped.stdout).not.toContain(ESCAPE);
    const failed = await box.run(["status", "none"]);
    expect(failed.stderr).toMatch(/^drover: /);
    const always = await box.run(["status", "none", "--color=always"]);
    expect(always.stderr).toContain(`${RED}drover:${ESCAPE}39m `);
    expect((await box.run(["doctor"], { env: { FORCE_COLOR: "1" } })).stdout).toContain(`${GREEN}✓`);
    const wrong = await box.run(["--color", "always", "runs", "--nothing"]);
    expect([wrong.code, wrong.stderr.startsWith(RED)]).toEqual([2, true]);
    const json = await box.run([
      "sync",
      work.write({ a: "a" }),
      "--to",
      work.at("out"),
      "--json",
      "--color",
      "always",
    ]);
    expect(JSON.parse(json.stdout)).toHaveLength(1);
    expect(json.stdout).not.toContain(ESCAPE);
  });

  it.skipIf(!hasTerminal)(
    "are on a terminal, unless NO_COLOR, --color never or TERM=dumb say no",
    async ({ box }) => {
      const doctor = (env: Record<string, string>, ...args: string[]) =>
        box.run(["doctor", ...args], { terminal: true, env });
      const [auto, noColor, empty, never, dumb] = await Promise.all([
        doctor({}),
        doctor({ NO_COLOR: "0" }),
        doctor({ NO_COLOR: "" }),
        doctor({ FORCE_COLOR: "1" }, "--color", "never"),
        doctor({ TERM: "dumb" }),
      ]);
      expect([auto.stdout, empty.stdout].map((text) => text.includes(`${GREEN}✓${ESCAPE}39m Node`))).toEqual([
        true,
        true,
      ]);
      for (const { stdout } of [noColor, never, dumb]) {
        expect(stdout).toContain("✓ Node");
        expect(stdout).not.toContain(ESCAPE);
      }
    },
  );

  it.skipIf(!hasTerminal)(
    "tell on a terminal what arrived from what did not",
    async ({ box, work, origin }) => {
      const sources = [work.write({ a: "a" }), `http://${origin.host}/none`];
      const { stdout } = await box.run(["sync", ...sources, "--to", work.at("out")], { terminal: true });
      expect(stdout).toContain(`${GREEN}✓${ESCAPE}39m a ${ESCAPE}2m(`);
      expect(stdout).toContain(`${RED}✗ none (`);
    },
  );
});
