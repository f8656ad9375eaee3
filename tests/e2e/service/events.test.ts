import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { sha256 } from "../../harness/content.js";
import { sendError } from "../../harness/fake-s3.js";
import { until } from "../../harness/gate.js";
import type { TestS3 } from "../../harness/s3.js";
import { it, type TestService } from "../../harness/service.js";
import {
  awsRecord,
  cephRecord,
  eventBridgeEvent,
  seaweedEvent,
  snsEnvelope,
  TEST_EVENT,
  versitygwRecord,
} from "../../unit/events/bodies.js";

const ODD_KEYS = ["a b", "a+b", "100%", "%2B", "ü", "?", "#", 'dir/"q", x', "100%25 ü+/ö?#"];
const NOTIFY = "/sync/s3-notification";
const envOf = (s3: TestS3) => ({
  ...s3.env,
  S3_BUCKET_NAME: s3.bucket,
  LOCAL_DOWNLOAD_DIR: "files",
  ENABLE_PERIODIC_SYNC: "false",
});
/** As AWS encodes keys: like a form. */
const formEncoded = (key: string) => encodeURIComponent(key).replaceAll("%20", "+");

type Named = { s3: { bucket: { name: string } } };
function of<T extends Named>(bucket: string, record: T): T {
  record.s3.bucket.name = bucket;
  return record;
}
const created = (bucket: string, key: string) => of(bucket, awsRecord(formEncoded(key)));
const removed = (bucket: string, key: string) =>
  of(bucket, awsRecord(formEncoded(key), { eventName: "ObjectRemoved:Delete" }));

async function notify(service: TestService, body: unknown, path = NOTIFY) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return await service.ask(path, { method: "POST", body: text, headers: { "content-type": "text/plain" } });
}

/** Waits until nothing waits and all runs of events have ended, and answers with these. */
async function settled(service: TestService, least = 1) {
  return await until("the runs of events", async () => {
    const { body: state } = await service.ask("/api/v1/events");
    const { body } = await service.ask("/api/v1/runs?label=events");
    const runs = body.runs as Record<string, unknown>[];
    const over = runs.every(({ state }) => state === "done");
    return state.waiting === 0 && runs.length >= least && over && runs;
  });
}

const yaml = (...routes: object[]) => JSON.stringify({ events: { routes } });

describe("notifications of storages", () => {
  it("bring each object to the name of its key, from every origin", async ({ serve, s3, work }) => {
    const origins: Record<string, (key: string) => unknown> = {
      aws: (key) => ({ Records: [created(s3.bucket, key)] }),
      ceph: (key) => ({ Records: [of(s3.bucket, cephRecord(key))] }),
      versitygw: (key) => ({ Records: [of(s3.bucket, versitygwRecord(key))] }),
      eventbridge: (key) => {
        const event = eventBridgeEvent(key);
        return { ...event, detail: { ...event.detail, bucket: { name: s3.bucket } } };
      },
      seaweedfs: (key) => seaweedEvent("create", `/buckets/${s3.bucket}/${key}`),
      sqs: (key) => ({
        Messages: [{ MessageId: "1", Body: JSON.stringify({ Records: [created(s3.bucket, key)] }) }],
      }),
    };
    const service = await serve([], envOf(s3));
    for (const [origin, bodyOf] of Object.entries(origins)) {
      const keys = ODD_KEYS.map((key) => `${origin}/${key}`);
      await s3.putAll(Object.fromEntries(keys.map((key) => [key, `the object ${key}`])));
      for (const key of keys) {
        const { status, body } = await notify(service, bodyOf(key));
        expect([status, body], key).toEqual([200, { status: "accepted", accepted: 1, ignored: 0, dead: 0 }]);
      }
    }
    await settled(service);
    for (const origin of Object.keys(origins))
      for (const key of ODD_KEYS)
        expect(readFileSync(work.at("files", `${origin}/${key}`), "utf8")).toBe(
          `the object ${origin}/${key}`,
        );
    expect((await service.ask("/api/v1/events")).body).toEqual({
      waiting: 0,
      oldest_waiting_at: null,
      accepted: Object.keys(origins).length * ODD_KEYS.length,
      ignored: 0,
      dead: 0,
      dead_letters: 0,
    });
  }, 120_000);

  it("are hints: duplicates, other orders and objects that are gone do no harm", async ({
    serve,
    s3,
    work,
  }) => {
    const route = { bucket: s3.bucket, destination: work.out, delete: true, "max-delete": 1_000 };
    writeFileSync(work.at("drover.yaml"), yaml(route));
    const keys = Array.from({ length: 30 }, (_, at) => `k${at}`);
    await s3.putAll(Object.fromEntries(keys.map((key) => [key, "1"])));
    mkdirSync(work.out);
    const service = await serve(["--root", work.out], envOf(s3));
    await notify(service, { Records: keys.map((key) => created(s3.bucket, key)) });
    await settled(service);
    const [gone, changed] = [keys.filter((_, at) => at % 3 === 0), keys.filter((_, at) => at % 3 === 1)];
    await Promise.all(gone.map((key) => s3.remove(key)));
    await s3.putAll(Object.fromEntries(changed.map((key) => [key, "2"])));
    // Each key's events come in any order, up to three times; of what was changed some are lost, but not all.
    const events = [
      ...keys.flatMap((key) => [removed(s3.bucket, key), created(s3.bucket, key)]),
      ...gone.flatMap((key) => [created(s3.bucket, key), removed(s3.bucket, key)]),
      ...changed.map((key) => created(s3.bucket, key)),
      created(s3.bucket, "never there"),
    ];
    const shuffled = events
      .map((event, at) => ({ event, order: sha256(`${at}`) }))
      .sort((one, other) => (one.order < other.order ? -1 : 1))
      .filter((_, at) => at % 11 !== 0)
      .map(({ event }) => event);
    const named = (of: Named & { eventName: string }) =>
      `${of.eventName} ${(of.s3 as unknown as { object: { key: string } }).object.key}`;
    const said = new Set(shuffled.map(named));
    for (const key of gone) expect(said).toContain(`ObjectRemoved:Delete ${key}`);
    for (const key of changed) expect(said).toContain(`ObjectCreated:Put ${key}`);
    await Promise.all(shuffled.map((event) => notify(service, { Records: [event] })));
    const runs = await settled(service, 2);
    expect(runs.reduce((sum, run) => sum + (run.failed as number), 0)).toBe(0);
    const expected = keys.filter((key) => !gone.includes(key));
    expect(readdirSync(work.out).sort()).toEqual(expected.sort());
    for (const key of expected)
      expect(readFileSync(work.to(key), "utf8"), key).toBe(changed.includes(key) ? "2" : "1");
    // An event for the same key that comes after the last one was looked at is looked at again.
    await s3.put("k1", "3");
    await notify(service, { Records: [created(s3.bucket, "k1")] });
    await until("the new version", () => readFileSync(work.to("k1"), "utf8") === "3");
  });

  it("of one object that wait together are one file of one run", async ({ serve, s3, work }) => {
    await s3.put("same", "content");
    const service = await serve([], envOf(s3));
    const records = Array.from({ length: 1_000 }, () => created(s3.bucket, "same"));
    expect((await notify(service, { Records: records })).body).toMatchObject({ accepted: 1_000 });
    expect(await settled(service)).toMatchObject([{ files: 1, copied: 1, label: "events", kind: "sync" }]);
    expect(readFileSync(work.at("files/same"), "utf8")).toBe("content");
  });

  for (const [step, fault] of [
    ["it acts on them", "events"],
    ["their run is whole", "enqueue"],
  ] as const)
    it(`are not lost with a server that is killed before ${step}`, async ({ serve, s3, work }) => {
      await s3.putAll({ a: "1", b: "2" });
      const doomed = await serve([], { ...envOf(s3), DROVER_FAULT: fault });
      const answers = await Promise.all(
        ["a", "b"].map((key) => notify(doomed, { Records: [created(s3.bucket, key)] })),
      );
      expect(answers.map(({ status }) => status)).toEqual([200, 200]);
      expect((await doomed.process.result).signal).toBe("SIGKILL");
      expect(existsSync(work.at("files/a"))).toBe(false);
      const service = await serve([], envOf(s3));
      await until("both objects", () => existsSync(work.at("files/a")) && existsSync(work.at("files/b")));
      expect((await settled(service)).reduce((sum, run) => sum + (run.failed as number), 0)).toBe(0);
    });

  it("go by routes, and remove what is gone where a route says so", async ({ serve, s3, work }) => {
    writeFileSync(
      work.at("drover.yaml"),
      yaml(
        { bucket: s3.bucket, prefix: "in/", destination: work.at("data/in"), delete: true, "max-delete": 2 },
        { bucket: s3.bucket, prefix: "keep/", destination: work.at("data/keep") },
      ),
    );
    work.write({ "data/in/own": "never brought by Drover" });
    await s3.putAll({ "in/sub/a": "a", "in/b": "b", "in/c": "c", "keep/k": "k", "other/o": "o" });
    const service = await serve(["--root", work.at("data")], { ...envOf(s3), REFUSED_FILE_TYPES: "exe" });
    const all = ["in/sub/a", "in/b", "in/c", "keep/k"];
    const Records = [...all, "other/o", "in/dir/", "in/x.exe"].map((key) => created(s3.bucket, key));
    const strange = created("another-bucket", "in/b");
    expect((await notify(service, { Records: [...Records, strange] })).body).toMatchObject({
      accepted: 4,
      ignored: 4,
    });
    await settled(service, 2);
    for (const key of all) expect(existsSync(work.at("data", key)), key).toBe(true);
    expect(existsSync(work.at("data/other"))).toBe(false);

    await Promise.all(["in/sub/a", "keep/k"].map((key) => s3.remove(key)));
    // The object is there still: whoever says that it was removed is wrong, or late.
    const hints = ["in/sub/a", "in/b", "keep/k"].map((key) => removed(s3.bucket, key));
    expect((await notify(service, { Records: hints })).body).toMatchObject({ accepted: 2, ignored: 1 });
    await until("the removal", () => !existsSync(work.at("data/in/sub/a")));
    const runs = await settled(service, 3);
    expect(runs[0]).toMatchObject({ files: 2, deleted: 1, unchanged: 1, failed: 0 });
    expect([existsSync(work.at("data/in/b")), existsSync(work.at("data/keep/k"))]).toEqual([true, true]);

    await notify(service, { Records: [removed(s3.bucket, "in/own")] });
    await settled(service, 4);
    expect(existsSync(work.at("data/in/own"))).toBe(true);
    const { body: stats } = await service.ask("/api/v1/stats");
    expect(stats).toMatchObject({ deleted: 1, failed: 0 });
  });

  it("remove no more at once than a route allows, until a person lets it pass", async ({
    serve,
    s3,
    work,
  }) => {
    const route = { bucket: s3.bucket, destination: work.at("data"), delete: true, "max-delete": 2 };
    mkdirSync(work.at("data"));
    writeFileSync(work.at("drover.yaml"), yaml(route));
    const keys = ["a b", "a+b", "ü"];
    await s3.putAll(Object.fromEntries(keys.map((key) => [key, "1"])));
    const service = await serve(["--root", work.at("data")], envOf(s3));
    await notify(service, { Records: keys.map((key) => created(s3.bucket, key)) });
    await settled(service);
    await Promise.all(keys.map((key) => s3.remove(key)));
    await notify(service, { Records: keys.map((key) => removed(s3.bucket, key)) });
    const [letter] = await until("the dead letter", async () => {
      const { body } = await service.ask("/api/v1/events/dead-letters");
      return body.dead_letters.length === 1 && body.dead_letters;
    });
    expect(letter.why).toBe("3 removals at once, and max-delete of the route allows 2");
    expect(keys.map((key) => existsSync(work.at("data", key)))).toEqual([true, true, true]);
    const replayed = await service.ask(`/api/v1/events/dead-letters/${letter.id}/replay`, { method: "POST" });
    expect(replayed.body).toEqual({ status: "accepted", accepted: 3, ignored: 0, dead: 0 });
    await until("the removals", () => keys.every((key) => !existsSync(work.at("data", key))));
    expect((await service.ask("/api/v1/events")).body).toMatchObject({ dead_letters: 0, dead: 3 });
  });

  it("that mean nothing are dead letters, which are listed and replayed", async ({ serve, s3, work }) => {
    await s3.put("late/x", "x");
    const service = await serve([], envOf(s3));
    const bad = created(s3.bucket, "k");
    const half = { Records: [created(s3.bucket, "late/x"), { ...bad, s3: { bucket: bad.s3.bucket } }] };
    for (const [body, tally] of [
      ["", { accepted: 0, ignored: 0, dead: 1 }],
      ["no JSON", { accepted: 0, ignored: 0, dead: 1 }],
      [{ hello: "CANARY" }, { accepted: 0, ignored: 0, dead: 1 }],
      [half, { accepted: 1, ignored: 0, dead: 1 }],
      [TEST_EVENT, { accepted: 0, ignored: 1, dead: 0 }],
      [snsEnvelope({ Records: [bad] }), { accepted: 0, ignored: 0, dead: 1 }],
      [{ Records: [created(s3.bucket, "../up")] }, { accepted: 0, ignored: 0, dead: 1 }],
    ] as const) {
      const answer = await notify(service, body);
      expect([answer.status, answer.body], JSON.stringify(body)).toEqual([
        200,
        { status: "accepted", ...tally },
      ]);
    }
    const path = "/api/v1/events/dead-letters";
    const { body: first } = await service.ask(`${path}?limit=4`);
    const { body: second } = await service.ask(`${path}?limit=4&cursor=${first.next}`);
    expect([first.dead_letters.length, second.dead_letters.length, second.next]).toEqual([4, 2, null]);
    const [up, sns, partly] = first.dead_letters;
    expect([up.why, sns.why, partly.why]).toEqual([
      expect.stringContaining("component"),
      expect.stringContaining("events.sns.topics"),
      expect.stringMatching(/^record 1: /),
    ]);
    await until("the good record", () => existsSync(work.at("files/late/x")));
    const replayed = await service.ask(`${path}/${sns.id}/replay`, { method: "POST" });
    expect([replayed.status, replayed.body.dead]).toEqual([200, 1]);
    expect((await service.ask(`${path}/replay`, { method: "POST" })).body).toEqual({
      replayed: 0,
      kept: 6,
      accepted: 1,
      ignored: 0,
    });
    expect((await service.ask("/api/v1/events")).body).toMatchObject({ dead_letters: 6, dead: 6 });
    expect((await service.ask(`${path}/1-1/replay`, { method: "POST" })).status).toBe(404);
    expect((await service.ask(`${path}/x/replay`, { method: "POST" })).status).toBe(404);
    const large = await notify(service, "x".repeat(100_000));
    expect(large.body.dead).toBe(1);
    const { body: cut } = await service.ask(`${path}?limit=1`);
    expect(cut.dead_letters[0]).toMatchObject({ bytes: 100_000, replayable: false });
    expect((await service.ask(`${path}/${cut.dead_letters[0].id}/replay`, { method: "POST" })).status).toBe(
      409,
    );
  });

  it("need the scope notify, or the secret of a route, which opens it alone and is nowhere shown", async ({
    serve,
    box,
    s3,
    work,
  }) => {
    const secret = "route-SECRET-CANARY";
    mkdirSync(work.at("data"));
    writeFileSync(work.at("secret"), `${secret}\n`);
    writeFileSync(
      work.at("drover.yaml"),
      yaml(
        { bucket: s3.bucket, prefix: "a/", destination: work.at("data/a"), "secret-file": work.at("secret") },
        { bucket: s3.bucket, prefix: "b/", destination: work.at("data/b") },
      ),
    );
    await s3.putAll({ "a/1": "1", "b/2": "2" });
    const env = {
      ...envOf(s3),
      API_TOKEN: "a-token-of-the-operator",
      LOG_LEVEL: "DEBUG",
      XDG_STATE_HOME: work.at("state"),
    };
    const service = await serve(["--host", "127.0.0.1", "--root", work.at("data")], env);
    const made = await box.run(["token", "create", "storage", "--scopes", "notify"], { env, cwd: work.path });
    const bearer = { authorization: `Bearer ${made.stdout.trim()}` };
    const operator = { authorization: "Bearer a-token-of-the-operator" };
    const body = JSON.stringify({ Records: [created(s3.bucket, "a/1"), created(s3.bucket, "b/2")] });
    expect((await service.ask(NOTIFY, { method: "POST", body })).status).toBe(401);
    expect((await service.ask("/api/v1/events", { headers: bearer })).status).toBe(403);
    for (const wrong of ["route-SECRET-CANARX", `${secret}x`, "x", "%00", encodeURIComponent(`${secret}/`)])
      expect((await service.ask(`${NOTIFY}/${wrong}`, { method: "POST", body })).status, wrong).toBe(401);
    expect((await service.ask(`${NOTIFY}/${secret}`)).status).toBe(405);
    expect((await service.ask(`${NOTIFY}/${secret}/more`, { method: "POST" })).status).toBe(404);
    expect((await fetch(`${service.url}/sync/s3%2Dnotification/${secret}`)).status).toBe(404);
    expect((await service.ask(`${NOTIFY}/${secret}`, { method: "POST", body })).body).toEqual({
      status: "accepted",
      accepted: 1,
      ignored: 1,
      dead: 0,
    });
    await until("the object of the route", () => existsSync(work.at("data/a/1")));
    expect(existsSync(work.at("data/b/2"))).toBe(false);
    expect((await service.ask(NOTIFY, { method: "POST", body, headers: bearer })).body.accepted).toBe(2);
    await until("the other object", () => existsSync(work.at("data/b/2")));
    const { text } = await service.ask("/sync/config", { headers: operator });
    const { text: runs } = await service.ask("/api/v1/runs", { headers: operator });
    expect(text + runs + service.process.output).not.toContain("CANARY");
    expect(service.process.output).toContain("/sync/s3-notification/***");
  });

  it("are set up in drover.yaml, where what is wrong stops the service", async ({ box, s3, work }) => {
    const route = { bucket: s3.bucket, destination: work.at("data") };
    mkdirSync(work.at("data"));
    for (const [content, says] of [
      [yaml({ bucket: s3.bucket }), "events.routes.0.destination"],
      [yaml({ ...route, colour: "red" }), "colour"],
      [yaml({ ...route, delete: "perhaps" }), "events.routes.0.delete"],
      [yaml({ ...route, secret: "CANARY" }), "events.routes.0.secret"],
      [yaml({ ...route, secret: "CANARY-0123456789", "secret-file": "x" }), "exclude each other"],
      [yaml({ ...route, "secret-file": work.at("nothing") }), "secret-file"],
      [yaml({ ...route, destination: "/elsewhere" }), "is not below"],
      [yaml({ ...route, "backup-dir": "/elsewhere" }), "is not below"],
      [JSON.stringify({ events: { sns: { topics: ["mine"] } } }), "events.sns.topics.0"],
      [JSON.stringify({ events: { routs: [] } }), "routs"],
      [JSON.stringify({ profiles: { p: { events: {} } } }), "events"],
    ] as const) {
      writeFileSync(work.at("drover.yaml"), content);
      const env = { XDG_STATE_HOME: work.at("state") };
      const { code, stderr } = await box.run(["serve", "--root", work.at("data")], { cwd: work.path, env });
      expect([code, stderr], content).toEqual([2, expect.stringContaining(says)]);
      expect(stderr).not.toContain("CANARY");
      expect(stderr.trim().split("\n")).toHaveLength(1);
    }
    // Other commands pass it over.
    writeFileSync(work.at("drover.yaml"), yaml(route));
    const source = work.write({ "in/x": "x" });
    const { code } = await box.run(["sync", source, ...work.into], { cwd: work.path });
    expect(code).toBe(0);
  });

  it("are taken over from a server of the fleet that is killed, and refused while Redis is away", async ({
    serve,
    s3,
    work,
    fleet,
  }) => {
    await s3.putAll({ a: "1", b: "2" });
    const route = { bucket: s3.bucket, destination: work.out };
    writeFileSync(work.at("drover.yaml"), yaml(route));
    const args = [...fleet.own, "--root", work.out];
    const doomed = await serve(args, { ...envOf(s3), DROVER_FAULT: "events" });
    const other = await serve(args, envOf(s3));
    fleet.env = s3.env;
    await fleet.worker();
    // Whoever of the two holds the events: the one dies at once, the other goes on.
    await notify(other, { Records: [created(s3.bucket, "a")] });
    await until("the first object", () => existsSync(work.to("a")));

    await fleet.redis.kill();
    const sinceMs = performance.now();
    const refused = await notify(other, { Records: [created(s3.bucket, "b")] });
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "5"]);
    expect(performance.now() - sinceMs).toBeLessThan(10_000);
    await fleet.redis.start();
    await until("the answer", async () => {
      const { status } = await notify(other, { Records: [created(s3.bucket, "b")] });
      return status === 200;
    });
    await until("the second object", () => existsSync(work.to("b")));
    doomed.process.kill("SIGKILL");
  });

  it("remove objects of another prefix likewise, but never what was written by others", async ({
    serve,
    s3,
    work,
  }) => {
    const to = `s3://${s3.bucket}/copies`;
    const route = { bucket: s3.bucket, prefix: "in/", destination: to, delete: true };
    writeFileSync(work.at("drover.yaml"), yaml(route));
    await s3.putAll({ "in/a": "a", "in/b": "b", "in/c": "c" });
    const service = await serve(["--root", to], envOf(s3));
    const keys = ["in/a", "in/b", "in/c"];
    await notify(service, { Records: keys.map((key) => created(s3.bucket, key)) });
    expect(await settled(service)).toMatchObject([{ copied: 3, failed: 0 }]);
    await s3.remove("in/a");
    await s3.remove("in/b");
    await s3.put("copies/b", "somebody else's");
    await notify(service, { Records: keys.map((key) => removed(s3.bucket, key)) });
    expect((await settled(service, 2))[0]).toMatchObject({ files: 3, deleted: 1, unchanged: 2, failed: 0 });
    expect((await s3.list()).filter((key) => key.startsWith("copies/"))).toEqual(["copies/b", "copies/c"]);
    expect(await s3.get("copies/b")).toBe("somebody else's");
  });

  it("remove nothing because a bucket, or a service, is not there", async ({ serve, fake, work }) => {
    writeFileSync(
      work.at("drover.yaml"),
      yaml({ bucket: "bucket", destination: work.at("data"), delete: true }),
    );
    mkdirSync(work.at("data"));
    fake.put("k", "content");
    const service = await serve(["--root", work.at("data")], {
      ...fake.env,
      ENABLE_PERIODIC_SYNC: "false",
    });
    await notify(service, { Records: [created("bucket", "k")] });
    await settled(service);
    for (const code of ["NoSuchBucket", undefined]) {
      fake.fault = (_, answer) => {
        if (code === undefined) answer.writeHead(404).end();
        else sendError(answer, 404, code);
        return true;
      };
      await notify(service, { Records: [removed("bucket", "k")] });
      const [run] = await settled(service, code === undefined ? 3 : 2);
      expect(run).toMatchObject({ files: 1, failed: 1, deleted: 0 });
      expect(readFileSync(work.at("data/k"), "utf8")).toBe("content");
    }
    fake.remove("k");
    fake.fault = () => false;
    await notify(service, { Records: [removed("bucket", "k")] });
    await until("the removal", () => !existsSync(work.at("data/k")));
  });
});
