import type { StorageEvent } from "@drover/service/events/event";
import { MAX_NOTIFICATION_BYTES, parseNotification } from "@drover/service/events/parse";
import { describe, expect, it } from "vitest";
import {
  awsRecord,
  cephRecord,
  eventBridgeEvent,
  seaweedEvent,
  snsEnvelope,
  sqsRecord,
  TEST_EVENT,
  versitygwRecord,
} from "./bodies.js";

const parse = (body: unknown) => parseNotification(Buffer.from(JSON.stringify(body)));

/** The events of a notification without envelopes. */
function eventsOf(body: unknown): StorageEvent[] {
  const parsed = parse(body);
  expect(parsed.is).toBe("events");
  return parsed.is === "events" ? parsed.events : [];
}

/** Keys, and how AWS encodes them in S3 records. Elsewhere they are as they are. */
const KEYS: readonly (readonly [key: string, formEncoded: string])[] = [
  ["plain.txt", "plain.txt"],
  ["dir/a b", "dir/a+b"],
  ["a+b", "a%2Bb"],
  ["100%", "100%25"],
  ["%2B", "%252B"],
  ["ü", "%C3%BC"],
  ["?", "%3F"],
  ["#", "%23"],
  ["a=b&c", "a%3Db%26c"],
  ["<&>", "%3C%26%3E"],
];

describe.each(KEYS)("the key %s", (key, formEncoded) => {
  it.each([
    ["aws", { Records: [awsRecord(formEncoded)] }],
    ["ceph", { Records: [cephRecord(key)] }],
    ["versitygw", { Records: [versitygwRecord(key)] }],
    ["versitygw", [versitygwRecord(key)]],
    ["eventbridge", eventBridgeEvent(key)],
    ["seaweedfs", seaweedEvent("create", `/buckets/mybucket/${key}`)],
  ])("arrives as it is from %s", (origin, body) => {
    expect(eventsOf(body)).toMatchObject([{ origin, type: "created", bucket: "mybucket", key }]);
  });
});

describe("S3 records", () => {
  it("tell all they know", () => {
    expect(eventsOf({ Records: [awsRecord("k")] })).toEqual([
      {
        origin: "aws",
        type: "created",
        bucket: "mybucket",
        key: "k",
        sizeBytes: 1024,
        etag: "d41d8cd98f00b204e9800998ecf8427e",
        versionId: "096fKKXTRTtl3on89fVO.nfljtsv6qko",
        sequencer: "0055AED6DCD90281E5",
        timeMs: Date.parse("2026-01-02T03:04:05.678Z"),
      },
    ]);
  });

  it("have no version where Ceph says it is empty, and where versitygw says it is null", () => {
    const [ceph] = eventsOf({ Records: [cephRecord("k")] });
    const [versitygw] = eventsOf({ Records: [versitygwRecord("k")] });
    expect([ceph?.versionId, versitygw?.versionId]).toEqual([undefined, undefined]);
    expect(versitygw?.etag).toBe("37b51d194a75");
  });

  it.each([
    ["ObjectCreated:CompleteMultipartUpload", "created"],
    ["s3:ObjectCreated:Copy", "created"],
    ["ObjectRemoved:Delete", "removed"],
    ["s3:ObjectRemoved:DeleteMarkerCreated", "removed"],
    ["LifecycleExpiration:Delete", "removed"],
    ["s3:ObjectLifecycle:Expiration:Current", "removed"],
  ])("called %s mean that an object was %s", (eventName, type) => {
    expect(eventsOf({ Records: [cephRecord("k", { eventName })] })).toMatchObject([{ type }]);
  });

  it.each(["ObjectTagging:Put", "ObjectRestore:Post", "s3:ObjectLifecycle:Expiration:NonCurrent"])(
    "called %s are ignored",
    (eventName) => {
      expect(parse({ Records: [awsRecord("k", { eventName })] })).toMatchObject({ events: [], ignored: 1 });
    },
  );

  it("that are malformed are told of one by one", () => {
    const records = [
      awsRecord("first"),
      null,
      awsRecord("100%"),
      { ...awsRecord("k"), eventSource: "minio:s3" },
      awsRecord(""),
      awsRecord("last"),
    ];
    const parsed = parse({ Records: records });
    expect(parsed).toMatchObject({
      is: "events",
      events: [{ key: "first" }, { key: "last" }],
      problems: [{ index: 1 }, { index: 2 }, { index: 3 }, { index: 4 }],
      ignored: 0,
    });
    expect(parsed.is === "events" && parsed.problems.map(({ why }) => why)).toEqual([
      expect.stringContaining("record: "),
      "s3.object.key: not form-encoded UTF-8",
      "eventSource: not aws:s3 or ceph:s3",
      expect.stringContaining("s3.object.key: "),
    ]);
  });

  it("keep their key where what is beside it is unusable", () => {
    const object = { size: -1, eTag: 7, versionId: {}, sequencer: [] };
    const [event] = eventsOf({ Records: [{ ...awsRecord("k", { object }), eventTime: "yesterday" }] });
    expect(event).toEqual({ origin: "aws", type: "created", bucket: "mybucket", key: "k" });
  });

  it("may be of versions and have fields that are not known yet", () => {
    const record = { ...awsRecord("k"), eventVersion: "9.0", novelty: { deep: [1] } };
    expect(eventsOf({ Records: [record] })).toHaveLength(1);
  });
});

describe("EventBridge", () => {
  it("tells of removals", () => {
    const [event] = eventsOf(eventBridgeEvent("k", "Object Deleted"));
    expect(event).toEqual({
      origin: "eventbridge",
      type: "removed",
      bucket: "mybucket",
      key: "k",
      versionId: "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
      sequencer: "617f08299329d189",
      timeMs: Date.parse("2026-01-02T03:04:05Z"),
    });
  });

  it("tells of much that is ignored", () => {
    expect(parse(eventBridgeEvent("k", "Object Tags Added"))).toMatchObject({ events: [], ignored: 1 });
  });

  it("of another source is a problem", () => {
    expect(parse({ ...eventBridgeEvent("k"), source: "aws.ec2" })).toMatchObject({
      events: [],
      problems: [{ index: 0 }],
    });
  });
});

describe("SeaweedFS", () => {
  it("tells size and time of what was created", () => {
    expect(eventsOf(seaweedEvent("create", "/buckets/mybucket/a/b"))).toEqual([
      {
        origin: "seaweedfs",
        type: "created",
        bucket: "mybucket",
        key: "a/b",
        sizeBytes: 1024,
        timeMs: 1_767_323_045_000,
      },
    ]);
  });

  it("tells of removals", () => {
    expect(eventsOf(seaweedEvent("delete", "/buckets/mybucket/a/b"))).toEqual([
      { origin: "seaweedfs", type: "removed", bucket: "mybucket", key: "a/b" },
    ]);
  });

  it("tells of a rename, which is a removal and a creation", () => {
    const event = seaweedEvent("rename", "/buckets/one/a b", { to: "/buckets/two/c/d" });
    expect(eventsOf(event)).toMatchObject([
      { type: "removed", bucket: "one", key: "a b" },
      { type: "created", bucket: "two", key: "c/d", sizeBytes: 1024 },
    ]);
  });

  it("calls a file that is replaced at its place renamed, and nothing is removed by that", () => {
    expect(eventsOf(seaweedEvent("rename", "/buckets/mybucket/k"))).toMatchObject([
      { type: "created", key: "k" },
    ]);
  });

  it("may rename into and out of buckets", () => {
    const into = seaweedEvent("rename", "/tmp/k", { to: "/buckets/mybucket/k" });
    const out = seaweedEvent("rename", "/buckets/mybucket/k", { to: "/tmp/k" });
    expect(eventsOf(into)).toMatchObject([{ type: "created" }]);
    expect(eventsOf(out)).toMatchObject([{ type: "removed" }]);
  });

  it.each([
    seaweedEvent("create", "/buckets/mybucket/dir", { isDirectory: true }),
    seaweedEvent("create", "/buckets/mybucket"),
    seaweedEvent("create", "/etc/iam/identity.json"),
    seaweedEvent("create", "/buckets/mybucket/.uploads/8f3a/0001.part"),
  ])("tells of directories, parts of uploads and what is no object, which is ignored", (body) => {
    expect(parse(body)).toMatchObject({ events: [], problems: [], ignored: 1 });
  });

  it("is believed without a message, but for a rename", () => {
    const bare = (event_type: string) => parse({ key: "/buckets/mybucket/k", event_type });
    expect(bare("update")).toMatchObject({ events: [{ type: "created", key: "k" }] });
    expect(bare("rename")).toMatchObject({ events: [], problems: [{ index: 0 }] });
  });
});

describe("envelopes", () => {
  it("of SNS hold S3 records, events of EventBridge or a test", () => {
    expect(parse(snsEnvelope({ Records: [awsRecord("a+b")] }))).toMatchObject({
      is: "sns",
      envelope: { TopicArn: "arn:aws:sns:us-west-2:123456789012:MyTopic" },
      inner: { is: "events", events: [{ origin: "aws", key: "a b" }] },
    });
    expect(parse(snsEnvelope(eventBridgeEvent("a+b")))).toMatchObject({
      inner: { is: "events", events: [{ origin: "eventbridge", key: "a+b" }] },
    });
    expect(parse(snsEnvelope(TEST_EVENT))).toMatchObject({ is: "sns", inner: { is: "test" } });
    expect(parse(snsEnvelope(0, { Message: "hello" }))).toMatchObject({ inner: { is: "unknown" } });
  });

  it.each(["SubscriptionConfirmation", "UnsubscribeConfirmation"])("of SNS may be a %s", (Type) => {
    const SubscribeURL = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription";
    const body = snsEnvelope("You have chosen to…", { Type, Token: "2336412f37", SubscribeURL });
    expect(parse(body)).toMatchObject({
      is: "confirmation",
      envelope: { Type, Token: "2336412f37", SubscribeURL },
    });
  });

  it("of SNS that lack something are unknown", () => {
    const { MessageId: _, ...rest } = snsEnvelope({});
    expect(parse(rest)).toEqual({ is: "unknown", why: expect.stringContaining("MessageId") });
  });

  it("of SQS hold any of them, each for itself", () => {
    const body = {
      Records: [
        sqsRecord("1", { Records: [awsRecord("a+b")] }),
        sqsRecord("2", eventBridgeEvent("a+b")),
        sqsRecord("3", snsEnvelope({ Records: [awsRecord("c")] })),
        sqsRecord("4", TEST_EVENT),
        sqsRecord("5", "no JSON"),
      ],
    };
    expect(parse(body)).toMatchObject({
      is: "batch",
      messages: [
        { id: "1", message: { is: "events", events: [{ origin: "aws", key: "a b" }] } },
        { id: "2", message: { is: "events", events: [{ origin: "eventbridge", key: "a+b" }] } },
        { id: "3", message: { is: "sns", inner: { events: [{ key: "c" }] } } },
        { id: "4", message: { is: "test" } },
        { id: "5", message: { is: "unknown" } },
      ],
    });
    expect(parse(body.Records)).toMatchObject({ is: "batch" });
  });

  it("of SQS may be what ReceiveMessage answers, or one message", () => {
    const message = {
      MessageId: "1",
      ReceiptHandle: "x",
      Body: JSON.stringify({ Records: [awsRecord("k")] }),
    };
    expect(parse({ Messages: [message] })).toMatchObject({ is: "batch", messages: [{ id: "1" }] });
    expect(parse(message)).toMatchObject({ is: "events", events: [{ key: "k" }] });
    expect(parse(sqsRecord("1", TEST_EVENT))).toEqual({ is: "test" });
  });

  it("of SNS, as a function gets them, are spelled as SNS posts them", () => {
    const { SigningCertURL, UnsubscribeURL, ...envelope } = snsEnvelope({ Records: [awsRecord("k")] });
    const Sns = { ...envelope, SigningCertUrl: SigningCertURL, UnsubscribeUrl: UnsubscribeURL };
    expect(parse({ Records: [{ EventSource: "aws:sns", EventVersion: "1.0", Sns }] })).toMatchObject({
      is: "batch",
      messages: [{ id: envelope.MessageId, message: { is: "sns", envelope: { SigningCertURL } } }],
    });
  });

  it("are not nested without end", () => {
    expect(parse(snsEnvelope(snsEnvelope({ Records: [awsRecord("k")] })))).toMatchObject({
      is: "sns",
      inner: { is: "unknown" },
    });
  });
});

describe("a body", () => {
  it("may be the test that S3 or versitygw send", () => {
    expect(parse(TEST_EVENT)).toEqual({ is: "test" });
    expect(parse({ Service: "S3", Event: "s3:TestEvent", Bucket: "Test-Bucket" })).toEqual({ is: "test" });
  });

  it.each(["", "{", "null", "7", '"text"', "{}", '{"Records":7}', '{"hello":"world"}'])(
    "that is %j is unknown",
    (text) => {
      expect(parseNotification(Buffer.from(text))).toEqual({ is: "unknown", why: expect.any(String) });
    },
  );

  it("that is not UTF-8 is unknown; a byte order mark does no harm", () => {
    const text = JSON.stringify(TEST_EVENT);
    expect(parseNotification(Buffer.from(text, "utf16le"))).toMatchObject({ is: "unknown" });
    expect(parseNotification(Buffer.from(`{"Event":"\xff"}`, "latin1"))).toMatchObject({ is: "unknown" });
    expect(parseNotification(Buffer.from(`\uFEFF${text}`))).toEqual({ is: "test" });
  });

  it("of more than 16 MiB, or with more records than any service sends, is not looked at", () => {
    expect(parseNotification(Buffer.alloc(MAX_NOTIFICATION_BYTES + 1, " "))).toMatchObject({ is: "unknown" });
    const many = `[${"{},".repeat(10_000)}{}]`;
    expect(parseNotification(Buffer.from(`{"Records":${many}}`))).toMatchObject({ is: "unknown" });
    const batch = { Records: [sqsRecord("1", `{"Records":${many}}`), sqsRecord("2", TEST_EVENT)] };
    expect(parse(batch)).toMatchObject({
      messages: [{ message: { is: "unknown" } }, { message: { is: "test" } }],
    });
  });

  it("may be nested deeply", () => {
    const deep = "[".repeat(100_000) + "]".repeat(100_000);
    expect(parseNotification(Buffer.from(`{"Records":${deep}}`)).is).toBe("events");
  });
});
