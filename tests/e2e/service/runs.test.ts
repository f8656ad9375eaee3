import { existsSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { sha256 } from "../../harness/content.js";
import { Gate, until } from "../../harness/gate.js";
import { it } from "../../harness/service.js";

/** URLs of requests may not lead to this machine, where the tests' servers are, unless that is said. */
const OPEN = ["--allow-address", "127.0.0.1"];

describe("runs over HTTP", () => {
  it("reach no private network with their URLs, and no metadata of a cloud even where that is allowed", async ({
    serve,
    work,
    origin,
  }) => {
    const inside = origin.route("/inside", does.file("secret"));
    const service = await serve(["--root", work.at(""), "--allow-address", "169.254.169.254"]);
    const { port } = new URL(inside);
    const sources = [
      ...["127.0.0.1", "127.1", "0", "017700000001", "0x7f.0.0.1", "2130706433", "[::1]", "[::]"],
      ...["[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "localhost", "169.254.169.254", "10.0.0.1"],
    ].map((host) => `http://${host}:${port}/inside`);
    const run = await service.runToEnd({
      files: sources.map((source, at) => ({ source, name: `f${at}` })),
      to: work.at("out"),
    });
    expect(run).toMatchObject({ state: "done", files: sources.length, failed: sources.length, copied: 0 });
    const { body } = await service.ask(`/api/v1/runs/${run.id}/files?class=address`);
    expect(body.files).toHaveLength(sources.length);
    expect(origin.requests).toEqual([]);
  });

  it("are taken, carried and told of", async ({ serve, work, origin }) => {
    work.write({ "data/in/a.csv": "a", "data/in/sub/b.csv": "b", "data/in/c.txt": "c" });
    const gone = origin.route("/gone.csv", does.status(404));
    const service = await serve([...OPEN, "--root", work.at("data")]);
    const run = await service.runToEnd({
      sources: [work.at("data/in/"), gone],
      to: work.at("data/out"),
      patterns: ["*.csv"],
      label: "nightly",
    });
    expect(run).toMatchObject({ state: "done", label: "nightly", files: 3, copied: 2, failed: 1, bytes: 2 });
    expect(readFileSync(work.at("data/out/sub/b.csv"), "utf8")).toBe("b");
    const { body: files } = await service.ask(`/api/v1/runs/${run.id}/files`);
    expect(files).toMatchObject({ truncated: false, next: null });
    expect(files.files.map((each: { outcome: string }) => each.outcome)).toEqual([
      "copied",
      "copied",
      "failed",
    ]);
    const { body: failed } = await service.ask(`/api/v1/runs/${run.id}/files?outcome=failed&class=not-found`);
    expect(failed.files).toMatchObject([{ source: gone, attempts: 1, error: { class: "not-found" } }]);
    const { body: list } = await service.ask("/api/v1/runs?label=nightly&limit=1");
    expect(list).toMatchObject({ runs: [{ id: run.id }], next: null });
    const csv = await service.ask(`/api/v1/runs/${run.id}/report?format=csv&successes=false`);
    expect(csv.text.trim().split("\n")).toEqual([
      "source,destination,outcome,bytes,checksum,attempts,duration_ms,error_class,error",
      expect.stringMatching(/gone\.csv,.*,failed,0,,1,0,not-found,/),
    ]);
    const ndjson = await service.ask(`/api/v1/runs/${run.id}/report`);
    expect(ndjson.text.trim().split("\n")).toHaveLength(3);
    expect((await service.stop()).code).toBe(0);
  });

  it("take wildcards in sources and lists, and names as files", async ({ serve, work, fake }) => {
    for (const key of ["p/a.gz", "p/x/b.gz", "p/c.txt", "p/d[1]", "p/d1"]) fake.put(key, key);
    work.write({ "data/x": "" });
    const service = await serve(["--root", work.at("data")], fake.env);
    const there = async (asked: object) => {
      const run = await service.runToEnd({ to: work.at("data/out"), ...asked });
      const { body } = await service.ask(`/api/v1/runs/${run.id}/files`);
      return body.files.map(({ source, outcome }: Record<string, string>) => `${source} ${outcome}`).sort();
    };
    expect(await there({ sources: ["s3://bucket/p/*.gz"] })).toEqual([
      "s3://bucket/p/a.gz copied",
      "s3://bucket/p/x/b.gz copied",
    ]);
    expect(await there({ list: "s3://bucket/p/d*\n" })).toEqual([
      "s3://bucket/p/d1 copied",
      "s3://bucket/p/d[1] copied",
    ]);
    fake.remove("p/d[1]");
    expect(await there({ files: [{ source: "s3://bucket/p/d[1]" }] })).toEqual(["s3://bucket/p/d[1] failed"]);
  });

  it("leave alone what they are told to, and give objects what they are told to", async ({
    serve,
    work,
    fake,
  }) => {
    work.write({ "in/a": "new", "in/b": "new", "out/a": "old" });
    const service = await serve(["--root", work.at(""), "--root", "s3://bucket/in"], fake.env);
    const sources = [work.at("in/")];
    const kept = await service.runToEnd({ sources, to: work.at("out"), ignore_existing: true });
    expect(kept).toMatchObject({ state: "done", copied: 1, unchanged: 1 });
    expect(readFileSync(work.at("out/a"), "utf8")).toBe("old");
    const s3 = { storage_class: "STANDARD_IA", cache_control: "no-store", tags: { team: "data" } };
    const stored = await service.runToEnd({ sources, to: "s3://bucket/in", s3, streams: 2 });
    expect(stored).toMatchObject({ state: "done", copied: 2 });
    const put = fake.requests.find(({ method, key }) => method === "PUT" && key === "in/a");
    expect(put?.headers).toMatchObject({
      ...{ "x-amz-storage-class": "STANDARD_IA", "cache-control": "no-store", "x-amz-tagging": "team=data" },
    });
    for (const wrong of [
      { sources, to: work.at("out"), s3 },
      { sources, to: work.at("out"), ignore_existing: true, existing: true },
      { sources, to: work.at("out"), streams: 0 },
    ])
      expect((await service.ask("/api/v1/runs", { json: wrong })).status).toBe(422);
  });

  it("take files with names and checksums of their own, and lists", async ({ serve, work, origin }) => {
    const a = origin.route("/a", does.file("a"));
    const b = `${origin.route("/b", does.file("b"))}?token=SECRET-CANARY`;
    const service = await serve([...OPEN, "--root", work.at("")]);
    const named = await service.runToEnd({
      files: [
        { source: a, name: 'odd, "name"', sha256: sha256("a") },
        { source: b, name: "dir/b", sha256: sha256("other") },
      ],
      to: work.at("out"),
    });
    expect(named).toMatchObject({ files: 2, copied: 1, failed: 1 });
    expect(readFileSync(work.at('out/odd, "name"'), "utf8")).toBe("a");
    const listed = await service.runToEnd({ list: `# two files\n${a}\tx/a\n${b}\n`, to: work.at("out") });
    expect(listed, JSON.stringify((await service.ask(`/api/v1/runs/${listed.id}/files`)).body)).toMatchObject(
      { files: 2, copied: 2 },
    );
    expect(readFileSync(work.at("out/x/a"), "utf8")).toBe("a");
    const everything = JSON.stringify((await service.ask("/api/v1/runs")).body) + service.process.output;
    expect(everything).not.toContain("SECRET-CANARY");
  });

  it("are refused at once where they cannot be, and nothing changes", async ({ serve, work }) => {
    work.write({ "data/in/a": "a", "outside/secret": "s" });
    const service = await serve([...OPEN, "--root", work.at("data")]);
    const to = work.at("data/out");
    for (const [request, status, detail] of [
      [{ sources: [work.at("data/in")] }, 422, "to: "],
      [{ sources: [work.at("data/in")], to, nonsense: 1 }, 422, "nonsense"],
      [{ to }, 422, "nothing to sync"],
      [{ sources: [work.at("outside")], to }, 403, "is not below"],
      [{ sources: [work.at("data/in")], to: work.at("outside") }, 403, "is not below"],
      [{ sources: [work.at("data/in")], to: `${to}/a\u0000b` }, 422, "contains a NUL"],
      [{ sources: [`${work.at("data/in")}\u0000`], to }, 422, "contains a NUL"],
      [{ sources: [work.at("data/in")], to: `${to}/../../outside` }, 403, "is not below"],
      [{ sources: [work.at("data/in")], to, backup_dir: work.at("outside") }, 403, "is not below"],
      [{ list: `${work.at("data/in/a")}\n${work.at("outside/secret")}\n`, to }, 403, "outside/secret"],
      [{ list: `http://example.com/a\t${"0".repeat(64)}\n`, to }, 422, "line 1 of the list"],
      [{ list: "\n# nothing\n", to }, 422, "names no file"],
      [{ sources: [work.at("data/in")], to, filters: ["- *", "+ *.csv"] }, 422, "*.csv"],
      [{ sources: ["ftp://example.com/a"], to }, 422, "ftp"],
    ] as const) {
      const { status: got, body } = await service.ask("/api/v1/runs", { json: request });
      expect([got, body.detail], JSON.stringify(request)).toEqual([status, expect.stringContaining(detail)]);
    }
    expect((await service.ask("/api/v1/runs")).body.runs).toEqual([]);
  });

  it("read nothing outside of the roots, also where a directory became a link after it was checked", async ({
    serve,
    work,
  }) => {
    work.write({ "data/in/a": "mine", "data/kept/b": "kept", "outside/a": "secret" });
    symlinkSync(work.at("data/kept"), work.at("data/inner"));
    const service = await serve([...OPEN, "--root", work.at("data")]);
    expect((await service.ask("/api/v1/dispatch/pause", { method: "POST" })).status).toBe(200);
    const sources = [work.at("data/in/a"), work.at("data/inner/b")];
    const { body: run } = await service.ask("/api/v1/runs", { json: { sources, to: work.at("data/out") } });
    await until("its files", async () => (await service.ask(`/api/v1/runs/${run.id}`)).body.sealed);
    renameSync(work.at("data/in"), work.at("data/away"));
    symlinkSync(work.at("outside"), work.at("data/in"));
    await service.ask("/api/v1/dispatch/resume", { method: "POST" });
    const { body: ended } = await service.ask(`/api/v1/runs/${run.id}?wait=30`);
    expect(ended).toMatchObject({ state: "done", copied: 1, failed: 1 });
    const { body: failed } = await service.ask(`/api/v1/runs/${run.id}/files?outcome=failed`);
    expect(failed.files).toMatchObject([{ source: sources[0], attempts: 1, error: { class: "path" } }]);
    expect(existsSync(work.at("data/out/a"))).toBe(false);
    expect(readFileSync(work.at("data/out/b"), "utf8")).toBe("kept");
  });

  it("can be followed, also from where a client was", async ({ serve, work, origin }) => {
    const gate = new Gate();
    const quick = origin.route("/quick", does.file("1"));
    const slow = origin.route("/slow", does.gated(gate, does.file("2")));
    const service = await serve([...OPEN, "--root", work.at("")]);
    const { body: run } = await service.ask("/api/v1/runs", {
      json: { sources: [quick, slow], to: work.at("out") },
    });
    const url = `${service.url}/api/v1/runs/${run.id}/events`;
    const first = await readEvents(url, ({ event }) => event === "file");
    const [file] = first.filter(({ event }) => event === "file");
    expect(file?.data).toMatchObject({ source: quick, outcome: "copied" });
    const fresh = await readEvents(`${url}?from=now`, ({ event }) => {
      if (event === "progress") gate.open();
      return event === "end";
    });
    expect(fresh.filter(({ event }) => event === "file").map(({ data }) => data.source)).toEqual([slow]);
    const rest = await readEvents(url, ({ event }) => event === "end", file?.id);
    expect(rest.filter(({ event }) => event === "file").map(({ data }) => data.source)).toEqual([slow]);
    expect(rest.at(-1)).toMatchObject({ event: "end", data: { state: "done", copied: 2 } });
    const lost = await readEvents(url, ({ event }) => event === "end", "1-1");
    expect(lost.map(({ event }) => event)).toEqual(["reset", "progress", "end"]);
  });

  it("are cancelled, retried and resumed", async ({ serve, work, origin }) => {
    const gate = new Gate();
    const held = origin.route("/held", does.gated(gate, does.file("x")));
    let status = 500;
    const flaky = origin.route("/flaky", (exchange) =>
      (status === 200 ? does.file("fine") : does.status(404))(exchange),
    );
    const service = await serve([...OPEN, "--root", work.at("")]);
    const { body: run } = await service.ask("/api/v1/runs", {
      json: { sources: [held], to: work.at("out") },
    });
    expect((await service.ask(`/api/v1/runs/${run.id}/cancel`, { method: "POST" })).status).toBe(202);
    gate.open();
    const { body: cancelled } = await service.ask(`/api/v1/runs/${run.id}?wait=30`);
    expect(cancelled.state).toBe("cancelled");
    const failed = await service.runToEnd({ sources: [flaky], to: work.at("out") });
    expect(failed).toMatchObject({ state: "done", failed: 1 });
    status = 200;
    expect((await service.ask(`/api/v1/runs/${failed.id}/retry`, { method: "POST" })).status).toBe(202);
    await until("the retry", async () => {
      const { body } = await service.ask(`/api/v1/runs/${failed.id}?wait=5`);
      return body.state === "done" && body.copied === 1;
    });
    const again = await service.ask(`/api/v1/runs/${failed.id}/resume`, { method: "POST" });
    expect(again.status).toBe(202); // nothing is left to do
    expect((await service.ask("/api/v1/runs/nonesuch")).status).toBe(404);
  });

  it("go on when the server that took them is killed", async ({ serve, work, fleet, origin }) => {
    const gate = new Gate();
    // The expansion waits while one file is open, and goes on at another server.
    const urls = Array.from({ length: 30 }, (_, at) =>
      origin.route(`/f${at}`, does.gated(gate, does.file(String(at)))),
    );
    writeFileSync(work.at("keep"), "");
    await fleet.worker(...OPEN);
    const args = [...fleet.own, "--root", work.out];
    const first = await serve(args);
    const { body: run } = await first.ask("/api/v1/runs", { json: { list: urls.join("\n"), to: work.out } });
    await first.stop("SIGKILL");
    const second = await serve(args);
    gate.open();
    await until(
      "the end",
      async () => (await second.ask(`/api/v1/runs/${run.id}?wait=5`)).body.state === "done",
    );
    expect((await second.ask(`/api/v1/runs/${run.id}`)).body).toMatchObject({ files: 30, copied: 30 });
  });
});

interface Told {
  event: string;
  id: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect of it
  data: any;
}

/** Reads events until one is the last that is wanted. */
async function readEvents(
  url: string,
  isLast: (told: Told) => boolean,
  lastEventId?: string,
): Promise<Told[]> {
  const headers: Record<string, string> = lastEventId === undefined ? {} : { "last-event-id": lastEventId };
  const response = await fetch(url, { headers });
  expect(response.headers.get("content-type")).toBe("text/event-stream");
  const told: Told[] = [];
  let rest = "";
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    const blocks = (rest + Buffer.from(chunk).toString()).split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1];
      const event = field("event");
      if (event === undefined) continue;
      told.push({ event, id: field("id"), data: JSON.parse(field("data") ?? "null") });
      if (!isLast(told.at(-1) as Told)) continue;
      return told; // which cancels the body
    }
  }
  return told;
}
