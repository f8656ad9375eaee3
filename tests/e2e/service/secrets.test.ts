import { readFileSync } from "node:fs";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { CANARY, canariesIn, redisContents } from "../../harness/canaries.js";
import { until } from "../../harness/gate.js";
import { it } from "../../harness/service.js";

/** What a secret may be in: those of a run until its files have arrived, and of a webhook until it is delivered. */
const SECRETS_KEY = /^\{drover\}:run:[^:]+:(secrets|webhook)$/;

describe("secrets that come over HTTP", () => {
  it("are in no answer, no log, and in Redis only where they belong", async ({
    serve,
    fleet,
    work,
    origin,
  }) => {
    const token = `${CANARY}-api-token`;
    work.write({
      "drover.yaml": `events:\n  routes:\n    - { bucket: bucket, destination: ${work.out}, secret: ${CANARY}-of-a-route-0123456789 }\n`,
    });
    const env = {
      ENABLE_PERIODIC_SYNC: "false",
      API_TOKEN: token,
      LOG_LEVEL: "DEBUG",
      LOG_FILE: work.at("own.log"),
    };
    const open = ["--allow-address", "127.0.0.1"];
    await fleet.worker(...open);
    const service = await serve([...fleet.own, ...open, "--host", "127.0.0.1", "--root", work.out], env);
    const headers = { authorization: `Bearer ${token}` };
    const answers: string[] = [];
    const ask = async (path: string, json?: object) => {
      const {
        status,
        text,
        headers: given,
      } = await service.ask(path, { headers, ...(json ? { json } : {}) });
      answers.push(text, JSON.stringify([...given]));
      return status;
    };

    const good = `${origin.route("/good", does.file("x"))}?token=${CANARY}-of-a-url`;
    const bad = `${origin.route("/bad", does.status(404))}?sig=${CANARY}-of-another`;
    const withUser = good.replace("http://", `http://me:${CANARY}-password@`);
    const secret = `whsec_${Buffer.from(`${CANARY} is the key of a webhook`).toString("base64")}`;
    const hook = { url: `${origin.route("/hook", does.status(500))}?key=${CANARY}-of-a-hook`, secret };
    const run = await service.runToEnd(
      {
        files: [{ source: good }, { source: bad }, { source: withUser, name: "with-user" }],
        headers: { Cookie: `session=${CANARY}-cookie` },
        to: work.out,
        webhook: hook,
      },
      headers,
    );
    answers.push(JSON.stringify(run));
    expect(run).toMatchObject({ files: 3, failed: 1 });
    await ask("/api/v1/runs", { list: `${bad}\tagain\n`, to: work.out });
    await ask("/api/v1/runs", { sources: [`ftp://me:${CANARY}-ftp@127.0.0.1/a`], to: work.out });
    for (const name of ["token", "access_token", "api_key", "sig", "%74oken"])
      await ask(`/api/v1/runs?limit=1&${name}=${CANARY}-in-a-query`);
    await ask(`/sync/s3-notification?token=${CANARY}-in-a-query`, { Records: [] });
    await ask(`/nothing?password=${CANARY}-in-a-query`);
    await ask(`/sync/s3-notification/${CANARY}-of-a-route-0123456789`, { Records: [] });
    await ask(`/sync/s3-notification/${CANARY}-wrong`, { Records: [] });
    await until("the webhook's first try", () =>
      origin.requests.some(({ path }) => path.startsWith("/hook")),
    );
    for (const path of [
      ...["runs", `runs/${run.id}`, `runs/${run.id}/files`, `runs/${run.id}/report`, `runs/${run.id}/events`],
      ...[
        "failures",
        "audit",
        "hosts",
        "workers",
        "events",
        "events/dead-letters",
        "config",
        "stats",
        "dispatch",
      ],
    ])
      await ask(`/api/v1/${path}`);

    const redis = await connect(fleet.redis.address);
    const contents = await redisContents(redis);
    redis.disconnect();
    const misplaced = contents.filter(
      ({ key, text }) => !SECRETS_KEY.test(key) && canariesIn(text).length > 0,
    );
    expect(misplaced).toEqual([]);
    expect(contents.some(({ text }) => canariesIn(text).length > 0)).toBe(true); // it was looked for as it is
    for (const answer of answers) expect(canariesIn(answer)).toEqual([]);
    expect(canariesIn(service.process.output)).toEqual([]);
    expect(canariesIn(readFileSync(work.at("own.log"), "utf8"))).toEqual([]);
    for (const worker of fleet.workers) expect(canariesIn(worker.output)).toEqual([]);
    expect(service.process.output).toContain('"url":"/api/v1/dispatch"'); // the log is there
  });
});
