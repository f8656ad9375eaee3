import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { PutBucketNotificationConfigurationCommand, S3Client } from "@aws-sdk/client-s3";
import { CreateTopicCommand, SNSClient } from "@aws-sdk/client-sns";
import { describe, expect } from "vitest";
import { until } from "../../harness/gate.js";
import { real } from "../../harness/s3-fixtures.js";
import { it } from "../../harness/service.js";

/** A gateway that listens where a container is its home cannot reach a service of this machine. */
const canPush = real !== undefined && process.env.DROVER_TEST_S3_ENDPOINT !== undefined;

describe.runIf(canPush)("a gateway of Ceph", () => {
  it("pushes what is uploaded and removed", async ({ serve, s3, work }) => {
    const secret = "of-the-gateway-0123";
    writeFileSync(
      work.at("drover.yaml"),
      JSON.stringify({
        events: { routes: [{ bucket: s3.bucket, destination: work.out, delete: true, secret }] },
      }),
    );
    work.write({ "out/other": "x" });
    const env = { ...s3.env, API_TOKEN: "a-token-of-the-operator", ENABLE_PERIODIC_SYNC: "false" };
    const service = await serve(["--host", "127.0.0.1", "--root", work.out], env);
    const endpoint = `${service.url}/sync/s3-notification/${secret}`;
    const { accessKeyId, secretAccessKey } = s3.service;
    const gateway = {
      endpoint: s3.service.endpoint,
      region: "us-east-1",
      credentials: { accessKeyId, secretAccessKey },
    };
    const sns = new SNSClient(gateway);
    const { TopicArn: topic } = await sns.send(
      new CreateTopicCommand({ Name: `t-${s3.bucket}`, Attributes: { "push-endpoint": endpoint } }),
    );
    sns.destroy();
    const client = new S3Client({ ...gateway, forcePathStyle: true });
    await client.send(
      new PutBucketNotificationConfigurationCommand({
        Bucket: s3.bucket,
        NotificationConfiguration: {
          TopicConfigurations: [
            { Id: "n", TopicArn: topic, Events: ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"] },
          ],
        },
      }),
    );
    client.destroy();
    const keys = ["a b", "a+b", "100%", "%2B", "ü", "?", "#", "dir/x"];
    for (const key of keys) await s3.put(key, `the object ${key}`);
    await until("all objects", () => keys.every((key) => existsSync(work.to(key))));
    for (const key of keys) expect(readFileSync(work.to(key), "utf8")).toBe(`the object ${key}`);
    for (const key of ["a+b", "ü"]) await s3.remove(key);
    await until("the removals", () => !existsSync(work.to("a+b")) && !existsSync(work.to("ü")));
    expect([existsSync(work.to("a b")), existsSync(work.to("other"))]).toEqual([true, true]);
    const headers = { authorization: "Bearer a-token-of-the-operator" };
    const { body } = await service.ask("/api/v1/events", { headers });
    expect(body).toMatchObject({ dead: 0, ignored: 0 });
    expect(body.accepted).toBeGreaterThanOrEqual(keys.length + 2);
    expect(service.process.output).not.toContain(secret);
  });
});
