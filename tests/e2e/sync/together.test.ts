import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, sha256, sha256OfFile } from "../../harness/content.js";
import { filesBelow, leftovers, parseItems, Sandbox } from "../../harness/drover.js";
import { FaultOrigin } from "../../harness/fault-origin.js";
import { it, Work } from "../../harness/fixtures.js";
import { Gate, until } from "../../harness/gate.js";

describe("two processes at once", () => {
  it("with the same sources both succeed, and every file is complete", async ({ box, origin, work }) => {
    const contents = Array.from({ length: 60 }, (_, i) => pattern(1000 + i * 5000, i + 1));
    const urls = contents.map((content, i) => origin.route(`/f${i}`, does.file(content)));
    work.write(Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`in/l${i}`, `local ${i}`])));
    const command = ["sync", ...urls, work.at("in"), ...work.into, "--json"];
    const results = await Promise.all([1, 2, 3].map(() => box.run(command)));
    for (const result of results) {
      expect(result.code, result.stderr).toBe(0);
      expect(parseItems(result)).toHaveLength(100);
    }
    for (const [i, content] of contents.entries()) {
      expect(await sha256OfFile(work.to(`f${i}`))).toBe(sha256(content));
    }
    for (let i = 0; i < 40; i++) expect(readFileSync(work.to(`l${i}`), "utf8")).toBe(`local ${i}`);
    expect(leftovers(work.out)).toEqual([]);
  });

  it("carry a file once: the second waits and finds it unchanged", async ({ box, origin, work }) => {
    const gate = new Gate();
    const url = origin.route("/a", does.gated(gate, does.file("content")), does.file("content"));
    const first = box.start(["sync", url, ...work.into, "--json"]);
    await gate.reached;
    const other = origin.route("/marker", does.file("marker"));
    const second = box.start(["sync", url, other, ...work.into, "--json"]);
    await second.waitFor("stdout", /marker/);
    expect(second.running).toBe(true);
    gate.open();
    expect(parseItems(await first.result)[0]?.outcome).toBe("copied");
    const items = parseItems(await second.result);
    expect(items.find((item) => item.source === url)?.outcome).toBe("unchanged");
  });

  it("do not block each other when one is killed", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.silence, does.file("content"));
    const first = box.start(["sync", url, ...work.into]);
    await origin.waitFor(1);
    const other = origin.route("/marker", does.file("marker"));
    const second = box.start(["sync", url, other, ...work.into, "--json"]);
    await second.waitFor("stdout", /marker/);
    const killedAt = Date.now();
    first.kill("SIGKILL");
    const { code } = await second.result;
    expect(code).toBe(0);
    expect(Date.now() - killedAt).toBeLessThan(10_000);
    expect(readFileSync(work.to("a"), "utf8")).toBe("content");
  });

  it("keep their Redis when the process that started it ends", async ({ box, origin, work }) => {
    // The embedded Redis must outlive the process that started it, even after Ctrl-C.
    const gate = new Gate();
    const own = ["--state-dir", work.at("state")];
    const starter = box.start(["sync", origin.route("/mute", does.silence), ...work.into, ...own]);
    await origin.waitFor(1);
    const rest = Array.from({ length: 30 }, (_, i) => origin.route(`/r${i}`, does.file("rest")));
    const slow = origin.route("/slow", does.gated(gate, does.file("slow")));
    const options = ["--max-workers", "1", ...own];
    const second = box.start(["sync", slow, ...rest, ...work.into, ...options]);
    await gate.reached;
    starter.interrupt();
    expect((await starter.result).code).toBe(130);
    gate.open();
    const { code, stderr } = await second.result;
    expect(code, stderr).toBe(0);
    expect(filesBelow(work.out)).toHaveLength(31);
  });

  it("that start at the same moment share one Redis", async ({ box, origin, work }) => {
    origin.route("/*", does.file("x"));
    const own = ["--state-dir", work.at("state")];
    const all = await Promise.all(
      Array.from({ length: 6 }, (_, i) => box.run(["sync", origin.url(`/f${i}`), ...work.into, ...own])),
    );
    for (const { code, stderr } of all) expect(code, stderr).toBe(0);
    expect(filesBelow(work.out)).toHaveLength(6);
  });
});

describe("the embedded Redis", () => {
  it("stops by itself when it is no longer used", async ({ work }) => {
    const own = new Sandbox();
    expect((await own.run(["sync", work.write({ a: "a" }), ...work.into])).code).toBe(0);
    await until("Redis to end", () => own.redisPids().length === 0);
    expect((await own.run(["sync", work.at("a"), ...work.into])).code).toBe(0);
    await own.dispose();
  });

  it.skipIf(process.platform !== "linux")("is reachable only for its user", async () => {
    const own = new Sandbox();
    const work = new Work(own.work());
    const gate = new Gate();
    const origin = await FaultOrigin.start();
    const run = own.start(["sync", origin.route("/a", does.gated(gate, does.file("a"))), ...work.into]);
    await gate.reached;
    const [pid] = own.redisPids();
    const sockets = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    const listening = ["tcp", "tcp6"]
      .flatMap((table) => readFileSync(`/proc/${pid}/net/${table}`, "utf8").split("\n"))
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , state, , , , , , inode]) => state === "0A" && sockets.includes(`socket:[${inode}]`));
    expect(listening).toEqual([]);
    // Only the owner of its directory can reach its unix socket.
    const paths = readFileSync(`/proc/${pid}/net/unix`, "utf8")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , , , , inode, path]) => path !== undefined && sockets.includes(`socket:[${inode}]`))
      .map((fields) => fields[7] ?? "");
    expect(paths.length).toBeGreaterThan(0);
    for (const path of paths) expect(statSync(dirname(path)).mode & 0o077).toBe(0);
    gate.open();
    await run.result;
    await origin.stop();
    await own.dispose();
  });

  it("that is suspended for seconds during a run only delays the run", async () => {
    const own = new Sandbox();
    const work = new Work(own.work());
    const origin = await FaultOrigin.start();
    const gate = new Gate();
    const count = 150;
    origin.route("/f*", does.after(5, does.file("content")));
    origin.route("/f75", does.gated(gate, does.file("content")));
    const urls = Array.from({ length: count }, (_, i) => origin.url(`/f${i}`));
    const run = own.start(["sync", ...urls, ...work.into, "--max-workers", "4", "--json"]);
    await gate.reached;
    const pids = own.redisPids();
    expect(pids.length).toBeGreaterThan(0);
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    gate.open();
    await delay(5000); // the outage itself, not a wait for something
    for (const pid of pids) process.kill(pid, "SIGCONT");
    const result = await run.result;
    expect(result.code, result.stderr).toBe(0);
    const items = parseItems(result);
    expect(items).toHaveLength(count);
    expect(new Set(items.map((item) => item.status))).toEqual(new Set(["ok"]));
    expect(filesBelow(work.out)).toHaveLength(count);
    await origin.stop();
    await own.dispose();
  });

  it("that is suspended until it counts as dead has every file reported once", async () => {
    const own = new Sandbox();
    const work = new Work(own.work());
    const origin = await FaultOrigin.start();
    const breakers = Array.from({ length: 8 }, () => new Gate());
    const held = breakers.map((gate, i) => origin.route(`/h${i}`, does.gated(gate, does.file("content"))));
    const first = origin.route("/first", does.file("content"));
    const urls = [first, ...held, origin.route("/last", does.file("content"))];
    const run = own.start(["sync", ...urls, ...work.into, "--max-workers", "8", "--json"]);
    await run.waitFor("stdout", /first/); // from here on Redis knows the scripts
    await Promise.all(breakers.map((gate) => gate.reached));
    const pids = own.redisPids();
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    // These are settled during the outage: Redis finds the command on the old and the new connection.
    for (const gate of breakers) gate.open();
    await run.waitFor("stderr", /Redis is away/, 40_000);
    for (const pid of pids) process.kill(pid, "SIGCONT");
    const result = await run.result;
    expect(result.code, result.stderr).toBe(0);
    expect(
      parseItems(result)
        .map((item) => `${item.outcome} ${item.source}`)
        .sort(),
    ).toEqual(urls.map((url) => `copied ${url}`).sort());
    expect(result.stderr).toBe("warning: Redis is away: waiting for it\nwarning: Redis is back\n");
    await origin.stop();
    await own.dispose();
  });

  it("that is killed during a run loses no file", async () => {
    const own = new Sandbox();
    const work = new Work(own.work());
    const origin = await FaultOrigin.start();
    const gate = new Gate();
    origin.route("/f*", does.file("content"));
    origin.route("/f30", does.gated(gate, does.file("content")));
    const urls = Array.from({ length: 60 }, (_, i) => origin.url(`/f${i}`));
    const command = ["sync", ...urls, ...work.into, "--max-workers", "2"];
    const run = own.start(command);
    await gate.reached;
    for (const pid of own.redisPids()) process.kill(pid, "SIGKILL");
    gate.open();
    const result = await run.result;
    // It may restart its Redis and continue, or stop and say so; the next sync repairs everything.
    expect(result.stderr).not.toMatch(/^\s+at /m);
    const again = await own.run(command);
    expect(again.code, again.stderr).toBe(0);
    expect(filesBelow(work.out)).toHaveLength(60);
    await origin.stop();
    await own.dispose();
  });

  // Connections that break while they are made are handled differently from established ones.
  it.for([0, 5, 10, 15, 20])("that is killed %i ms after the start of a run is restarted", async (ms) => {
    const own = new Sandbox();
    const work = new Work(own.work());
    const origin = await FaultOrigin.start();
    origin.route("/f*", does.file("content"));
    const urls = Array.from({ length: 60 }, (_, i) => origin.url(`/f${i}`));
    const run = own.start(["sync", ...urls, ...work.into, "--verbose"], { timeoutMs: 30_000 });
    try {
      await run.waitFor("stderr", /run r/);
      const pids = own.redisPids();
      await delay(ms); // the moment of the kill is random anyway, so several are tried
      for (const pid of pids) process.kill(pid, "SIGKILL");
      const { code, stderr } = await run.result;
      expect(code, stderr).toBe(0);
      expect(filesBelow(work.out)).toHaveLength(60);
    } finally {
      await origin.stop();
      await own.dispose();
    }
  });
});
