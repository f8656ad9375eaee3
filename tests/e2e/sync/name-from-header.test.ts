import { execFile } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { promisify } from "node:util";
import { describe, expect } from "vitest";
import { file, status } from "../../harness/behaviours.js";
import { itWithFakeS3 as it } from "../../harness/fixtures.js";
import { here } from "../../harness/named-trees.js";

const named = (text: string, disposition: string) =>
  file(text, { headers: { "content-disposition": disposition } });
const flag = "--name-from-header";

describe("sync --name-from-header", () => {
  it("names files as curl -OJ does, and asks once more", async ({ box, work, origin }) => {
    const urls = [
      origin.route("/1/get", named("one", 'attachment; filename="one.csv"')),
      origin.route("/2/get", named("two", "attachment; filename=two.csv")),
      origin.route("/3/get", named("three", 'attachment; filename="../../up/three.csv"')),
      origin.route("/plain.txt", file("plain")),
    ];
    const dry = await box.sync([...urls, ...work.into, flag, "--dry-run"]);
    const names = ["one.csv", "plain.txt", "three.csv", "two.csv"];
    expect(dry.items.map(({ destination }) => destination).sort()).toEqual(
      names.map((name) => work.to(name)),
    );
    const asked = origin.requestsTo("/1/get").length;
    expect(asked).toBe(1);
    expect((await box.sync([...urls, ...work.into, flag])).code).toBe(0);
    expect(here(work.out).sort()).toEqual(names);
    expect(origin.requestsTo("/1/get")).toHaveLength(asked + 2);
    const curled = work.at("curl");
    mkdirSync(curled);
    for (const url of urls) await promisify(execFile)("curl", ["-sOJ", url], { cwd: curled });
    expect(readdirSync(curled).sort()).toEqual(names);
    const again = await box.sync([...urls, ...work.into, flag]);
    expect(again.items.map(({ outcome }) => outcome)).toEqual(new Array(4).fill("unchanged"));
  });

  it("notices two of one name, and leaves names of a list", async ({ box, work, origin }) => {
    const urls = ["1", "2", "3"].map((id) =>
      origin.route(`/${id}/get`, named(id, 'attachment; filename="same.csv"')),
    );
    const list = work.write({ "list.txt": `${urls[2]}\tmine.csv\n` });
    const args = [...urls.slice(0, 2), "--from-file", list, ...work.into, flag];
    const { code, items } = await box.sync(args);
    expect(code).not.toBe(0);
    expect(items.filter(({ outcome }) => outcome === "failed")).toMatchObject([
      { error: { class: "collision" } },
    ]);
    expect(here(work.out).sort()).toEqual(["mine.csv", "same.csv"]);
  });

  it("brings nothing under another name where the server does not tell", async ({ box, work, origin }) => {
    const url = origin.route("/get", status(503), named("one", 'attachment; filename="one.csv"'));
    const { code, items, stderr } = await box.sync([url, ...work.into, flag]);
    expect([code, items, stderr]).toMatchObject([3, [{ outcome: "failed", error: { class: "server" } }], ""]);
    expect(here(work.out)).toEqual([]);
    await box.run(["retry", "latest"]);
    expect(here(work.out)).toEqual([]);
    expect((await box.sync([url, ...work.into, flag])).code).toBe(0);
    expect(here(work.out)).toEqual(["one.csv"]);
  });

  it("is refused without URLs", async ({ box, work }) => {
    work.write({ "in/a": "a" });
    const { code, stderr } = await box.run(["sync", work.at("in"), ...work.into, flag]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/about URLs, and there is none/)]);
  });
});
