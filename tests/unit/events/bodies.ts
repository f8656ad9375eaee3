/** Bodies of notifications, as each origin sends them. `key` is what is written into the body, encoded by the caller. */

export interface RecordOptions {
  eventName?: string;
  /** Replaces fields of `s3.object`. */
  object?: Record<string, unknown>;
}

export function awsRecord(key: string, { eventName = "ObjectCreated:Put", object }: RecordOptions = {}) {
  return {
    eventVersion: "2.1",
    eventSource: "aws:s3",
    awsRegion: "us-west-2",
    eventTime: "2026-01-02T03:04:05.678Z",
    eventName,
    userIdentity: { principalId: "AIDAJDPLRKLG7UEXAMPLE" },
    requestParameters: { sourceIPAddress: "172.16.0.1" },
    responseElements: {
      "x-amz-request-id": "C3D13FE58DE4C810",
      "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG",
    },
    s3: {
      s3SchemaVersion: "1.0",
      configurationId: "testConfigRule",
      bucket: {
        name: "mybucket",
        ownerIdentity: { principalId: "A3NL1KOZZKExample" },
        arn: "arn:aws:s3:::mybucket",
      },
      object: {
        key,
        size: 1024,
        eTag: "d41d8cd98f00b204e9800998ecf8427e",
        versionId: "096fKKXTRTtl3on89fVO.nfljtsv6qko",
        sequencer: "0055AED6DCD90281E5",
        ...object,
      },
    },
  };
}

export function cephRecord(key: string, { eventName = "ObjectCreated:Put", object }: RecordOptions = {}) {
  return {
    eventVersion: "2.2",
    eventSource: "ceph:s3",
    awsRegion: "default",
    eventTime: "2026-01-02T03:04:05.678901Z",
    eventName,
    userIdentity: { principalId: "tester" },
    requestParameters: { sourceIPAddress: "" },
    responseElements: {
      "x-amz-request-id": "503a4c37-85eb-47cd-8681-2817e80b4281.5330.903595",
      "x-amz-id-2": "14d2-zone1-zonegroup1",
    },
    s3: {
      s3SchemaVersion: "1.0",
      configurationId: "n",
      bucket: {
        name: "mybucket",
        ownerIdentity: { principalId: "tester" },
        arn: "arn:aws:s3:default::mybucket",
        id: "503a4c37-85eb-47cd-8681-2817e80b4281.5332.38",
      },
      object: {
        key,
        size: 1024,
        eTag: "37b51d194a7513e45b56f6524f2d51f2",
        versionId: "",
        sequencer: "F7E6D75DC742D108",
        metadata: [],
        tags: [],
        ...object,
      },
    },
    eventId: "",
    opaqueData: "x",
  };
}

export function versitygwRecord(
  key: string,
  { eventName = "s3:ObjectCreated:Put", object }: RecordOptions = {},
) {
  return {
    eventVersion: "2.2",
    eventSource: "aws:s3",
    awsRegion: "us-east-1",
    eventTime: "2026-01-02T03:04:05Z",
    eventName,
    userIdentity: { PrincipalId: "user" },
    requestParameters: { sourceIPAddress: "127.0.0.1" },
    responseElements: { "x-amz-request-id": "", "x-amz-id-2": "" },
    s3: {
      s3SchemaVersion: "1.0",
      configurationId: "webhook-global",
      bucket: { name: "mybucket", ownerIdentity: { PrincipalId: "user" }, arn: "arn:aws:s3:::/mybucket/x" },
      object: { key, size: 1024, eTag: '"37b51d194a75"', versionId: null, sequencer: "018F5C", ...object },
    },
    glacierEventData: {
      restoreEventData: { lifecycleRestorationExpiryTime: "", lifecycleRestoreStorageClass: "" },
    },
  };
}

export function eventBridgeEvent(key: string, detailType = "Object Created") {
  return {
    version: "0",
    id: "17793124-05d4-b198-2fde-7ededc63b103",
    "detail-type": detailType,
    source: "aws.s3",
    account: "111122223333",
    time: "2026-01-02T03:04:05Z",
    region: "ca-central-1",
    resources: ["arn:aws:s3:::mybucket"],
    detail: {
      version: "0",
      bucket: { name: "mybucket" },
      object: {
        key,
        size: 1024,
        etag: "b1946ac92492d2347c6235b4d2611184",
        "version-id": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
        sequencer: "617f08299329d189",
      },
      "request-id": "N4N7GDK58NMKJ12R",
      requester: "123456789012",
      "source-ip-address": "1.2.3.4",
      reason: "PutObject",
    },
  };
}

const entry = (name: string, isDirectory = false) => ({
  name,
  ...(isDirectory && { is_directory: true }),
  attributes: { file_size: 1024, mtime: 1_767_323_045, file_mode: 432 },
});

/** Of SeaweedFS, whose directories and names are told apart. */
export function seaweedEvent(
  type: "create" | "update" | "delete" | "rename",
  path: string,
  { to = path, isDirectory = false }: { to?: string; isDirectory?: boolean } = {},
) {
  const slash = to.lastIndexOf("/");
  const nameOf = (each: string) => each.slice(each.lastIndexOf("/") + 1);
  return {
    key: path,
    event_type: type,
    message: {
      ...(type !== "create" && { old_entry: entry(nameOf(path), isDirectory) }),
      ...(type !== "delete" && { new_entry: entry(to.slice(slash + 1), isDirectory) }),
      ...(type !== "delete" && { new_parent_path: to.slice(0, slash) }),
      signatures: [1_398_950_247],
    },
  };
}

export const TEST_EVENT = {
  Service: "Amazon S3",
  Event: "s3:TestEvent",
  Time: "2026-01-02T03:04:05.678Z",
  Bucket: "mybucket",
  RequestId: "5582815E1AEA5ADF",
  HostId: "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR",
};

/** An envelope of SNS without a good signature. */
export function snsEnvelope(message: unknown, fields: Record<string, unknown> = {}) {
  return {
    Type: "Notification",
    MessageId: "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
    TopicArn: "arn:aws:sns:us-west-2:123456789012:MyTopic",
    Subject: "Amazon S3 Notification",
    Message: JSON.stringify(message),
    Timestamp: "2026-01-02T03:04:05.678Z",
    SignatureVersion: "1",
    Signature: "EXAMPLEw6JRN",
    SigningCertURL:
      "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem",
    UnsubscribeURL: "https://sns.us-west-2.amazonaws.com/?Action=Unsubscribe",
    ...fields,
  };
}

/** A message of SQS, as a function gets it. */
export function sqsRecord(messageId: string, body: unknown) {
  return {
    messageId,
    receiptHandle: "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
    body: typeof body === "string" ? body : JSON.stringify(body),
    attributes: { ApproximateReceiveCount: "1", SentTimestamp: "1545082649183" },
    messageAttributes: {},
    md5OfBody: "098f6bcd4621d373cade4e832627b4f6",
    eventSource: "aws:sqs",
    eventSourceARN: "arn:aws:sqs:us-east-2:123456789012:my-queue",
    awsRegion: "us-east-2",
  };
}
