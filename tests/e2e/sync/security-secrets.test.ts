import { chownSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { sha256 } from "../../harness/content.js";
import { filesBelow, type Result, Sandbox } from "../../harness/drover.js";
import { type Behaviour, FaultOrigin } from "../../harness/fault-origin.js";
import { it, Work } from "../../harness/fixtures.js";
import { Gate } from "../../harness/gate.js";
import { onlyRun, type RunReport } from "../../harness/runs.js";

/** A word that appears in every secret and may appear nowhere else. */
const CANARY = "c4n4ry";
const QUERY = [
  `X-Amz-Credential=${CANARY}1`,
  `X-Amz-Signature=${CANARY}2`,
  `X-Amz-Security-Token=${CANARY}3`,
  `sig=${CANARY}4`,
  `token=${CANARY}5`,
  `access_token=${CANARY}6`,
  "part=7",
].join("&");
const HEADERS = [
  ["--header", `Authorization: Bearer ${CANARY}8`],
  ["--header", `X-Custom: ${CANARY}9`],
].flat();

function secretUrl(origin: FaultOrigin, path: string): string {
  return `${origin.url(path).replace("http://", `http://user:${CANARY}0@`)}?${QUERY}`;
}

function expectNoSecret(box: Sandbox, ...results: Result[]): void {
  for (const { stdout, stderr } of results) {
    expect(stdout).not.toContain(CANARY);
    expect(stderr).not.toContain(CANARY);
  }
  const files = box.stateFiles();
  expect(files.filter(({ text }) => text.includes(CANARY)).map(({ path }) => path)).toEqual([]);
  expect(filesBelow(box.root).filter((path) => path.includes(CANARY))).toEqual([]);
}

/** Output of other commands about the runs so far. */
async function retold(box: Sandbox): Promise<Result[]> {
  const runs = await box.run(["runs"]);
  const json = await box.run(["runs", "--json"]);
  const [latest] = JSON.parse(json.stdout) as RunReport[];
  const id = latest?.run ?? "";
  return [runs, json, await box.run(["status", id]), await box.run(["status", id, "--json"])];
}

describe("secrets are sent to the server and shown nowhere", () => {
  const cases: { name: string; behaviour: Behaviour; options?: string[] }[] = [
    { name: "a success", behaviour: does.file("content") },
    { name: "404", behaviour: does.status(404) },
    {
      name: "403 that repeats the address",
      behaviour: ({ request, response }) => echo(request.url, 403, response),
    },
    { name: "503", behaviour: does.status(503) },
    { name: "a reset", behaviour: does.reset },
    { name: "no HTTP", behaviour: does.garbage("220 hello\r\n") },
    { name: "a timeout", behaviour: does.silence, options: ["--timeout", "1"] },
    { name: "a wrong digest", behaviour: does.file("content", { headers: does.digests.repr("other") }) },
    { name: "a redirect to a secret address", behaviour: does.redirect(`/elsewhere?${QUERY}`) },
    {
      name: "a redirect to a forbidden one",
      behaviour: does.redirect(`ftp://u:${CANARY}@127.0.0.1/x?${QUERY}`),
    },
    { name: "a loop", behaviour: does.redirect(`?${QUERY}`) },
  ];
  it.for(cases)("$name", async ({ behaviour, options = [] }) => {
    const box = new Sandbox();
    const origin = await FaultOrigin.start();
    const work = new Work(box.work());
    try {
      origin.route("/file.csv", behaviour);
      const sources = [secretUrl(origin, "/file.csv"), ...work.into, ...HEADERS];
      const modes = [["--json"], ["--ndjson", "--verbose"], ["--verbose"]];
      const results: Result[] = [];
      for (const mode of modes) {
        const once = ["--retries", "1", "--breaker-wait", "0"];
        results.push(await box.run(["sync", ...sources, ...options, ...mode, ...once]));
      }
      const sent = origin.requests[0];
      expect(sent?.query).toBe(QUERY);
      expect(sent?.headers.authorization).toBeDefined();
      expect(sent?.headers["x-custom"]).toBe(`${CANARY}9`);
      expectNoSecret(box, ...results, ...(await retold(box)));
    } finally {
      await origin.stop();
      await box.dispose();
    }
  });
});

function echo(
  url: string | undefined,
  code: number,
  response: { writeHead(code: number): { end(s: string): void } },
) {
  response.writeHead(code).end(`no: ${url}`);
}

describe("secrets are not repeated", () => {
  it("in errors about arguments", async ({ box, work }) => {
    const commands = [
      [`ftp://user:${CANARY}@example.org/x?${QUERY}`],
      [`http://user:${CANARY}@[bad/x?${QUERY}`],
      [`http://user:${CANARY}@:1:2/x?${QUERY}`],
      ["http://example.org/x", "--header", `Authorization ${CANARY}`],
      ["http://example.org/x", "--header", `Bad\nHeader: ${CANARY}`],
      ["http://example.org/x", "--redis", `redis://user:${CANARY}@127.0.0.1:1`],
      [`http://a.example/x?token=${CANARY}1`, `http://b.example/x?token=${CANARY}2`],
      ["http://a.example/x", "--checksum", `http://u:${CANARY}@a.example/x=abc`],
    ];
    for (const command of commands) {
      const result = await box.run(["sync", ...command, ...work.into]);
      expect(result.code).toBe(2);
      expectNoSecret(box, result);
    }
  });

  it.for([
    [`http://user:${CANARY}@host/x`],
    [`http://user:it's${CANARY}@host/x`],
    ["sync", `--source=http://user:${CANARY}@host/x`],
    ["runs", `http://host/x?token=${CANARY}`],
    ["fetch", `http://user:it's${CANARY}@host/x`],
  ])("in errors about the call itself: %j", async (command, { box }) => {
    const result = await box.run(command);
    expect(result.stdout + result.stderr).toContain("***");
    expect([2, 64]).toContain(result.code);
    expectNoSecret(box, result);
  });

  it.for([`ftp://user:${CANARY}@host/x`, `file://user:${CANARY}@host/x`])(
    "by a destination that is no path: %s",
    async (root, { box, work }) => {
      const source = work.write({ a: "a" });
      const result = await box.run(["sync", source, "--artifact-root", root], { cwd: work.path });
      expect(result.code).toBe(2);
      expectNoSecret(box, result);
    },
  );

  it.for(["-", "LIST"])("in errors about a list's lines, from %s", async (from) => {
    const box = new Sandbox();
    const work = new Work(box.work());
    const lines = [
      `ftp://user:${CANARY}@example.org/x?${QUERY}`,
      `http://user:${CANARY}@[bad/x?${QUERY}`,
      `http://127.0.0.1:1/x?token=${CANARY}\t../escape`,
      `http://127.0.0.1:1/x?token=${CANARY}\tx\tnot-a-sum`,
    ];
    const options = ["--verbose", "--retries", "1"];
    const input = lines.join("\n");
    const list = from === "-" ? "-" : work.write({ list: input });
    const result = await box.run(["sync", "--from-file", list, ...work.into, ...options], { input });
    rmSync(work.at("list"), { force: true });
    try {
      expect(result.code).toBe(3);
      expectNoSecret(box, result, ...(await retold(box)));
    } finally {
      await box.dispose();
    }
  });

  it("by drover config", async ({ box }) => {
    const env = { REDIS_URL: `redis://user:${CANARY}@127.0.0.1:6379`, DROVER_REDIS: undefined };
    const result = await box.run(["config"], { env });
    expect(result.code).toBe(0);
    expectNoSecret(box, result);
  });

  it("by drover fetch", async ({ box, origin, work }) => {
    origin.route("/file.csv", does.file("content"), does.status(404), does.status(503));
    const command = ["fetch", "--source-url", secretUrl(origin, "/file.csv"), "--max-retries", "1"];
    const results: Result[] = [];
    for (let i = 0; i < 4; i++)
      results.push(await box.run([...command, "--destination", work.to(`f${i}.csv`)]));
    expect(results.map((result) => result.code)).toEqual([0, 70, 70, 75]);
    expectNoSecret(box, ...results);
  });
});

it.skipIf(process.getuid?.() !== 0)(
  "a list from a pipe is not kept where another user could replace it",
  async ({ box, work }) => {
    const lists = work.at("state", "lists");
    mkdirSync(lists, { recursive: true });
    chownSync(lists, 65_534, 65_534);
    const command = ["sync", "--from-file", "-", "--state-dir", work.at("state"), ...work.into];
    const { code, stderr } = await box.run(command, { input: "/etc/hostname\n" });
    expect(code).toBe(2);
    expect(stderr).toMatch(/cannot keep the list in .*lists belongs to another user \(uid 65534\)/);
    expect(readdirSync(lists)).toEqual([]);
  },
);

it("two URLs that differ only in a secret are two files", async ({ box, origin, work }) => {
  origin.route("/a", ({ request, response }) => {
    response.end(request.url?.includes("secret1") ? "one" : "two");
  });
  const input = ["secret1\tone", "secret2\ttwo"].map((end) => `${origin.url("/a")}?token=${end}`).join("\n");
  const { items, code } = await box.sync(["--from-file", "-", ...work.into], { input });
  expect(code).toBe(0);
  expect(items.map((item) => item.checksum).sort()).toEqual([sha256("one"), sha256("two")].sort());
});

it.for([0, 600])(
  "of two URLs for one name that differ only in a secret the first is fetched, %i files between them",
  async (between, { box, origin, work }) => {
    const gate = new Gate();
    origin.route("/first", does.gated(gate, does.file("first")));
    origin.route("/between/*", does.file("between"));
    origin.route("/a", ({ request, response }) => {
      response.end(request.url?.includes("secret1") ? "one" : "two");
    });
    const input = [
      `${origin.url("/first")}\tfirst`,
      `${origin.url("/a")}?token=secret1\tname`,
      ...Array.from({ length: between }, (_, n) => origin.url(`/between/${n}`)),
      `${origin.url("/a")}?token=secret2\tname`,
    ].join("\n");
    const running = box.start(["sync", "--from-file", "-", "--max-workers", "1", "--ndjson", ...work.into], {
      input,
    });
    await running.waitFor("stdout", /"collision"/); // all are found, and one is held on its way
    gate.open();
    expect((await running.result).code).toBe(1);
    expect(readFileSync(work.to("name"), "utf8")).toBe("one");
  },
);

it("a run with secrets can be retried", async ({ box, origin, work }) => {
  const url = origin.route("/a", does.status(503), does.file("content"));
  const command = ["sync", `${url}?token=${CANARY}`, ...work.into, ...HEADERS, "--retries", "1"];
  const own = ["--state-dir", work.at("state")];
  const first = await box.run([...command, ...own]);
  expect(first.code).toBe(3);
  const { run: id } = await onlyRun(box, own);
  const again = await box.run(["retry", id, ...own]);
  expect(again.code).toBe(0);
  expect(origin.requests).toHaveLength(2);
  expect(origin.requests[1]?.query).toBe(`token=${CANARY}`);
  expect(origin.requests[1]?.headers.authorization).toBe(`Bearer ${CANARY}8`);
  expectNoSecret(box, first, again);
});
