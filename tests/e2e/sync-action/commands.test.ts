import { mkdirSync } from "node:fs";
import { parseAddress } from "@drover/shared/redis/address";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import { filesBelow } from "../../harness/drover.js";
import { TestFleet } from "../../harness/fleet.js";
import { it } from "../../harness/sync-examples.js";

describe("drover templates", () => {
  it("clears the cache at the next sync where it was killed after a file was in place", async ({
    box,
    work,
    s3,
    program,
  }) => {
    work.write({ "templates/a.html": "1" });
    const args = ["templates", "--bucket", "bucket", "--cache", program.url];
    const options = { cwd: work.path, env: s3.env };
    expect(await box.run(args, options)).toMatchObject({ code: 0 });
    const cache = await connect(parseAddress(program.url));
    await cache.mset("template:a.html", "old", "bccache:a.html", "old", "template:b.html", "other");
    work.write({ "templates/a.html": "2, longer" });
    const killed = await box.run(args, { ...options, env: { ...s3.env, DROVER_FAULT: "committed" } });
    expect(killed.signal).toBe("SIGKILL");
    expect(String(s3.stored("a.html")?.content)).toBe("2, longer");
    expect(await cache.exists("template:a.html")).toBe(1);
    const next = await box.run([...args, "--json"], options);
    expect(next.code).toBe(0);
    expect(JSON.parse(next.stdout)).toMatchObject({
      ...{ in_sync: true, has_conflicts: false, dry_run: false, errors: [] },
      ...{ cache_invalidated: ["template:a.html"], bytecode_cleared: ["bccache:a.html"] },
    });
    expect(await cache.exists("template:b.html")).toBe(1);
    cache.disconnect();
  });

  it("clears the cache of what a rollback has changed", async ({ box, work, s3, program }) => {
    work.write({ "templates/a.html": "1", "templates/b.html": "1" });
    const args = ["templates", "--bucket", "bucket", "--cache", program.url, "--json"];
    const options = { cwd: work.path, env: s3.env };
    expect(await box.run(args, options)).toMatchObject({ code: 0 });
    s3.put("a.html", "2, longer");
    const synced = JSON.parse((await box.run(args, options)).stdout) as { runs: string[] };
    const cache = await connect(parseAddress(program.url));
    await cache.mset("template:a.html", "2, longer", "template:b.html", "1");
    const back = await box.run(["rollback", synced.runs[0] as string], options);
    expect(back).toMatchObject({ code: 0 });
    expect(back.stderr).toContain("the next drover templates does that");
    expect(await cache.exists("template:a.html")).toBe(1);
    const next = await box.run(args, options);
    expect(JSON.parse(next.stdout)).toMatchObject({ cache_invalidated: ["template:a.html"] });
    expect(await cache.exists("template:b.html")).toBe(1);
    cache.disconnect();
  });

  it("says what it does, path by path, and ends with exit code 1 where conflicts wait", async ({
    box,
    work,
    s3,
  }) => {
    work.write({ "templates/a.html": "a", "templates/b.html": "local" });
    s3.put("b.html", "remote");
    const args = ["templates", "--bucket", "bucket", "--conflict", "MANUAL"];
    const { code, stdout } = await box.run(args, { cwd: work.path, env: s3.env });
    expect(code).toBe(1);
    expect(stdout).toMatch(/^! b\.html \(conflict: both new/m);
    expect(stdout).toMatch(/^→ a\.html/m);
    expect(stdout).toMatch(/^1 synced, 1 conflicts; not in sync$/m);
  });

  it("changes nothing where a guard stops it", async ({ box, work, s3 }) => {
    for (const name of ["a", "b", "c"]) s3.put(`${name}.html`, name);
    work.write({ "templates/x.txt": "" });
    const args = ["templates", "--bucket", "bucket", "--json"];
    const options = { cwd: work.path, env: s3.env };
    expect((await box.run(args, options)).code).toBe(0);
    for (const name of ["a", "b", "c"]) s3.remove(`${name}.html`);
    const { code, stdout } = await box.run(args, options);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ stopped: { code: "empty-side" } });
  });
});

describe("drover settings", () => {
  it("is carried by a fleet, whose workers publish what was checked", async ({ box, work }) => {
    work.write({ "settings/good.yml": "a: 1\n", "settings/bad.yml": "a: [\n", "other/remote.yml": "b: 1\n" });
    const roots = [work.at("settings"), work.at("other"), work.at("kept")];
    mkdirSync(work.at("kept"));
    const fleet = await TestFleet.start(box, roots);
    await fleet.worker();
    const backups = ["--backup-dir", work.at("kept/local"), "--remote-backup-dir", work.at("kept/remote")];
    const args = ["settings", "--bucket", work.at("other"), "--redis", fleet.url, ...backups, "--json"];
    const { code, stdout } = await box.run(args, { cwd: work.path });
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ adapters_affected: ["good", "remote"], errors: [], skipped: [{ path: "bad.yml", line: 2 }] },
    });
    expect(filesBelow(work.at("other")).filter((path) => path.endsWith("yml"))).toEqual([
      ...[work.at("other/good.yml"), work.at("other/remote.yml")],
    ]);
    await fleet.stop();
  });

  it("holds back what is invalid, and never says a value", async ({ box, work, s3 }) => {
    work.write({ "settings/good.yml": "a: 1\n", "settings/bad.yml": "password: 's3cr3t\n" });
    const args = ["settings", "--bucket", "bucket"];
    const { code, stdout, stderr } = await box.run(args, { cwd: work.path, env: s3.env });
    expect(code).toBe(1);
    expect(stdout).toMatch(/^· bad\.yml \(left: held back: line 2, column 1: /m);
    expect(stdout + stderr).not.toContain("s3cr3t");
    expect(s3.keys.filter((key) => !key.startsWith(".drover-"))).toEqual(["good.yml"]);
    const check = await box.run(["settings", "check", "--json"], { cwd: work.path });
    expect(check.code).toBe(1);
    expect(JSON.parse(check.stdout)).toMatchObject({
      files: 2,
      issues: [{ path: "bad.yml", line: 2, column: 1 }],
    });
    expect(check.stdout).not.toContain("s3cr3t");
    expect((await box.run(["settings", "check", "--adapter", "good"], { cwd: work.path })).code).toBe(0);
  });

  it("takes the reload's command from the settings file, without a shell", async ({ box, work, s3 }) => {
    const script = "require('fs').appendFileSync(process.argv[1], 'told;')";
    const command = JSON.stringify([process.execPath, "-e", script, work.at("told; rm -rf x")]);
    work.write({ "drover.yaml": `reload-command: ${JSON.stringify(command)}\n`, "settings/a.yml": "a: 1\n" });
    const args = ["settings", "--bucket", "bucket", "--json"];
    const options = { cwd: work.path, env: s3.env };
    const first = await box.run(args, options);
    expect(JSON.parse(first.stdout)).toMatchObject({ config_reloaded: true, adapters_affected: ["a"] });
    expect(JSON.parse((await box.run(args, options)).stdout)).toMatchObject({ config_reloaded: false });
    const { readFileSync } = await import("node:fs");
    expect(readFileSync(work.at("told; rm -rf x"), "utf8")).toBe("told;");
  });

  it("refuses what cannot work with exit code 2", async ({ box, work, s3 }) => {
    work.write({ "settings/a.yml": "a: 1\n" });
    for (const wrong of [
      ["--reload-url", "file:///etc/passwd"],
      ["--reload-channel", "settings"],
      ["--reload-command", "[broken"],
      ["--adapter", "a/b"],
    ]) {
      const { code } = await box.run(["settings", "--bucket", "bucket", ...wrong], {
        cwd: work.path,
        env: s3.env,
      });
      expect([wrong, code]).toEqual([wrong, 2]);
    }
    expect(s3.keys).toEqual([]);
  });
});

describe("drover cache", () => {
  it("tells keys and reasons as JSON", async ({ box, work, program }) => {
    const cache = await connect(parseAddress(program.url));
    await cache.mset(
      "template:a",
      "x",
      "bccache:a",
      "x",
      "response:a",
      "x",
      "gather:a",
      "x",
      "{drover}:x",
      "x",
    );
    const run = async (...args: string[]) => {
      const { code, stdout } = await box.run(["cache", ...args, "--json"], {
        cwd: work.path,
        env: { DROVER_CACHE: program.url },
      });
      return { code, ...(stdout === "" ? {} : (JSON.parse(stdout) as Record<string, unknown>)) };
    };
    expect(await run("clear", "--namespace", "templates", "--namespace", "gather")).toMatchObject({
      ...{ code: 0, operation: "clear", invalidated_keys: [], cleared_namespaces: ["templates", "gather"] },
    });
    const refreshed = await run("refresh");
    expect((refreshed as { invalidated_keys?: string[] }).invalidated_keys?.sort()).toEqual([
      "bccache:a",
      "response:a",
    ]);
    expect(refreshed).toMatchObject({
      skipped: [{ path: "templates" }, { path: "responses" }],
      warmed_keys: [],
    });
    expect(await run("invalidate", "--key", "{drover}:x")).toMatchObject({ code: 2 });
    expect(await run("warm", "--warm-url", "http://127.0.0.1:1/")).toMatchObject({ code: 1, errors: [{}] });
    expect(await cache.keys("*")).toEqual(["{drover}:x"]);
    cache.disconnect();
    expect((await box.run(["cache", "clear"], { cwd: work.path })).code).toBe(2);
  });
});
