import { existsSync, lstatSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TransferError } from "@drover/shared/errors";
import { statStamp } from "@drover/shared/protocol/catalog-entry";
import { LocalTree } from "@drover/shared/storage/local/tree";
import { LocalDestination } from "@drover/worker/destinations/local/destination";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { it } from "../helpers/file-worker.js";
import { settledError } from "../helpers/http.js";

describe("a job that somebody wrote into Redis", () => {
  it.for([
    "../outside/x",
    "a/../../outside/x",
    "/outside/x",
    "a//b",
    "a/.drover-AAAAAAAAAAAAAAAA",
    "nul\0",
    "",
  ])("fails and writes nothing if its destination is %j", async (name, { fileWorker, origin, space }) => {
    const url = origin.route("/file", does.file("content"));
    expect(await settledError(fileWorker, name, url)).toMatchObject({ class: "path", attempts: 1 });
    expect(space.files()).toEqual([]);
    expect(existsSync(join(space.root, "../outside"))).toBe(false);
    expect(origin.requestsTo("/file")).toEqual([]);
  });

  it("keeps nothing outside of what the worker writes to, and what was to be kept is back", async ({
    make,
    space,
  }) => {
    mkdirSync(space.at("elsewhere"));
    symlinkSync(space.at("elsewhere"), space.at("link"));
    const kept = space.at("link/kept");
    const why = new TransferError("path", "outside", { permanent: true });
    const fileWorker = await make({
      open: () => {
        const tree = new LocalTree(space.root);
        // The link has appeared since the worker looked.
        const refuse = (root: string) => (root === kept ? undefined : why);
        return { tree, destination: new LocalDestination(tree, { dir: kept, suffix: "" }, refuse) };
      },
    });
    writeFileSync(space.to("f"), "content");
    const stamp = statStamp(lstatSync(space.to("f"), { bigint: true }));
    const result = await fileWorker.removal("f", stamp);
    expect(result).toMatchObject({ is: "settled", outcome: { outcome: "failed", error: { class: "path" } } });
    expect(space.files()).toEqual(["f"]);
    expect(existsSync(space.at("elsewhere/kept/f"))).toBe(false);
  });

  it("removes nothing outside of the tree", async ({ fileWorker, space }) => {
    writeFileSync(space.at("kept"), "content");
    const result = await fileWorker.removal("../kept", "1:2:3:4");
    expect(result).toMatchObject({ is: "settled", outcome: { outcome: "failed", error: { class: "path" } } });
    expect(existsSync(space.at("kept"))).toBe(true);
  });
});
