import { mkdirSync, readFileSync } from "node:fs";
import { Keys } from "@drover/shared/protocol/keys";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import { RedisUnderFire } from "../../chaos/redis-under-fire.js";
import * as does from "../../harness/behaviours.js";
import type { DroverProcess } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";
import { until } from "../../harness/gate.js";
import { MASTER, Watched } from "../../harness/redis-kinds.js";
import { statusOf } from "../../harness/runs.js";

const FILES = 300;
/** After the loss, the run must have ended within this time, in milliseconds. */
const MOST_MS = 60_000;
const PASSWORDS = { data: "data", sentinel: "watch" };
const keys = new Keys();

/** A Redis that loses its last second. */
interface Forgetful {
  url: string;
  /** What is written from here on will be lost. */
  cut(): Promise<void>;
  /** It dies, and is back without what came after {@link cut}. */
  die(): Promise<void>;
  stop(): Promise<void>;
}

/** A master whose replica is cut off from it, and takes its place. */
async function watched(): Promise<Forgetful> {
  const group = await Watched.start(PASSWORDS);
  return {
    url: `redis+sentinel://:${PASSWORDS.data}@${group.sentinel.address}/${MASTER}?sentinel-password=${PASSWORDS.sentinel}`,
    cut: async () => void (await group.follower().call("REPLICAOF", "127.0.0.1", "1")),
    die: () => group.master.kill(),
    stop: () => group.stop(),
  };
}

/** A single one whose append-only file loses its end. */
async function single(directory: string): Promise<Forgetful> {
  const server = await RedisUnderFire.launch(directory);
  let cutMs = 0;
  return {
    url: server.url,
    cut: async () => {
      cutMs = performance.now();
    },
    die: async () => {
      await server.crash({ lostMs: performance.now() - cutMs, tornBytes: 200 });
      await server.start();
    },
    stop: () => server.stop(),
  };
}

interface Case {
  /** How many files have ended when what follows is lost; undefined: none are submitted yet. */
  kept: number | undefined;
  /** How many have ended when it dies. */
  had: number;
  killsLeader: boolean;
}

const MIDDLE = FILES / 2;
const CASES: [string, (directory: string) => Promise<Forgetful>, Case[]][] = [
  [
    "a master behind Sentinels",
    watched,
    [
      { kept: undefined, had: 80, killsLeader: false },
      { kept: MIDDLE, had: MIDDLE + 80, killsLeader: true },
    ],
  ],
  [
    "a single Redis",
    single,
    [
      { kept: 0, had: 80, killsLeader: true },
      { kept: FILES - 80, had: FILES, killsLeader: false },
    ],
  ],
];

/** A run of {@link FILES} files of a fleet of two whose Redis forgets what came after a moment. */
describe.each(CASES)("a run goes on behind %s that loses its last second", (_name, start, cases) => {
  it.for(cases)(
    "$had of 300 files had ended, $kept are remembered, the leader is killed: $killsLeader",
    { timeout: 150_000 },
    async ({ kept, had, killsLeader }, { box, origin, work }) => {
      const server = await start(work.at("redis"));
      const own = ["--redis", server.url];
      mkdirSync(work.out, { recursive: true });
      const workers = [1, 2].map(() =>
        box.start(["worker", ...own, "--root", work.out, "--concurrency", "4", "--verbose"], {
          timeoutMs: 150_000,
        }),
      );
      const redis = await connect({ url: server.url });
      try {
        for (const worker of workers) await worker.waitFor("stderr", /worker ready/);
        const leader = await until("a leader", () =>
          workers.find(({ stderr }) => stderr.includes("leads the fleet")),
        );
        origin.route("/*", ({ request, ...rest }) =>
          does.after(80, does.file(`content ${request.url}`))({ request, ...rest }),
        );
        const names = Array.from({ length: FILES }, (_, at) => `f${at}`);
        const list = work.write({ "list.txt": names.map((name) => origin.url(`/${name}`)).join("\n") });
        const runId = () => until("the run", async () => (await redis.zrange(keys.runs(), "0", "-1"))[0]);
        const ended = async (files: number) => {
          const id = await runId();
          await until(`${files} files`, async () => (await redis.bitcount(keys.done(id))) >= files);
        };
        const submit = () =>
          box.start(["sync", "--from-file", list, ...work.into, ...own, "--json"], { timeoutMs: 150_000 });
        let run: DroverProcess | undefined;
        if (kept !== undefined) {
          run = submit();
          await ended(kept);
        }
        await server.cut();
        run ??= submit();
        await ended(had);
        const shown = had === FILES ? await run.result : undefined;
        if (killsLeader) leader.kill("SIGKILL");
        await server.die();
        const diedMs = performance.now();
        const { code, stdout } = shown ?? (await run.result);
        expect(code).toBe(0);
        expect(JSON.parse(stdout)).toHaveLength(FILES);
        const id = await runId();
        expect((await box.run(["wait", id, ...own], { timeoutMs: MOST_MS })).code).toBe(0);
        expect(performance.now() - diedMs).toBeLessThan(MOST_MS);
        for (const name of names) expect(readFileSync(work.to(name), "utf8")).toBe(`content /${name}`);
        const { state, files, copied, unchanged } = await statusOf(box, id, own);
        // What was carried again is unchanged.
        expect({ state, files, there: copied + unchanged }).toEqual({
          ...{ state: "done", files: FILES, there: FILES },
        });
      } finally {
        redis.disconnect();
        for (const worker of workers) worker.kill("SIGKILL");
        await server.stop();
      }
    },
  );
});
