import { describe, expect } from "vitest";
import { until } from "../../harness/gate.js";
import { it } from "../../harness/service.js";
import { awsRecord } from "../../unit/events/bodies.js";

describe("/api/v1/mirrors", { timeout: 180_000 }, () => {
  it("takes events for a mirror, also by notifications, and says how it stands", async ({
    serve,
    s3,
    work,
  }) => {
    work.write({
      "drover.yaml": JSON.stringify({
        mirrors: { m: { source: s3.url(""), destination: work.out, "data-dir": work.at("data") } },
        events: { routes: [{ bucket: s3.bucket, mirror: "m" }] },
      }),
    });
    const service = await serve([], s3.env);
    const path = "/api/v1/mirrors/m/events";
    const event = {
      specversion: "1.0",
      id: "1",
      source: "test",
      type: "drover.mirror.create",
      data: { key: "a" },
    };
    expect(await service.ask(path, { json: event })).toMatchObject({ status: 202, body: { accepted: 1 } });
    const batch = [
      { ...event, id: "2" },
      { type: "delete", path: "b" },
    ];
    expect(await service.ask(path, { json: batch })).toMatchObject({ status: 202, body: { accepted: 2 } });
    expect((await service.ask(path, { body: "[1]" })).status).toBe(422);
    expect((await service.ask(path, { body: "{" })).status).toBe(400);
    expect((await service.ask("/api/v1/mirrors/other/events", { json: event })).status).toBe(404);
    const record = awsRecord("c");
    record.s3.bucket.name = s3.bucket;
    const told = await service.ask("/sync/s3-notification", { json: { Records: [record] } });
    expect(told.body).toMatchObject({ accepted: 1 });
    await until("the notification to reach the mirror", async () => {
      const { body } = await service.ask("/api/v1/mirrors/m");
      return body.events_waiting === 4;
    });
    expect((await service.ask("/api/v1/mirrors")).body.mirrors).toMatchObject([{ mirror: "m", records: 0 }]);
    expect((await service.ask("/api/v1/mirrors/m/dead-letters")).body).toEqual({ dead_letters: [] });
  });
});
