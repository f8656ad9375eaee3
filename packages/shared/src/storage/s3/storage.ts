import { SettingsError } from "../../errors.js";
import { baseName, isBelow, safeKey } from "../../paths.js";
import { originHost } from "../http/storage.js";
import type { DestinationStorage, Services, Sources, Storage } from "../storage.js";
import { parseS3, s3Text } from "./object/name.js";
import { S3_REQUESTS } from "./requests.js";
import { awsEndpoint, destinationService, isAws } from "./service/service.js";
import type { S3Spec } from "./service/spec.js";
import { S3Tree } from "./tree.js";

function parseRoot(text: string): string {
  const { bucket, key } = parseS3(text);
  return s3Text({ bucket, key: key.replace(/\/$/, "") }).replace(/\/$/, "");
}

async function checkRoot(root: string, services: Services): Promise<void> {
  const { checkBucket } = await import("./check-bucket.js");
  await checkBucket(root, destinationService({ ...services, root }), services.userAgent);
}

/** Prefixes of buckets. */
const destination: DestinationStorage = {
  example: "s3://bucket/prefix at the service of the destination",
  tellsTimes: true,
  ownDirectory: false,
  parseRoot,
  join(root, name) {
    const { bucket, key } = parseS3(root);
    return s3Text({ bucket, key: key === "" ? name : `${key}/${name}` });
  },
  asFile(location) {
    const { bucket, key } = parseS3(location);
    const name = baseName(key);
    if (name === "") return undefined;
    return { root: parseRoot(s3Text({ bucket, key: key.slice(0, -name.length) })), name };
  },
  checkName: safeKey,
  contains: (outer, inner) => isBelow(inner, outer),
  isSame(source, root, { s3, s3Destination }) {
    const elsewhere = s3Destination && !isSameService(s3Destination, s3);
    return !elsewhere && source.replace(/\/$/, "") === root;
  },
  isShared: ({ s3, s3Destination }) => !s3Destination || hasSameBuckets(s3Destination, s3),
  hostOf: ({ s3, s3Destination }) => originHost((s3Destination ?? s3)?.endpoint ?? awsEndpoint("us-east-1")),
  prepare: checkRoot,
  checkBackup: checkRoot,
  namesOf: (root, services) => new S3Tree(root, destinationService({ ...services, root })),
  openTree: (root, services) => new S3Tree(root, destinationService({ ...services, root })),
  mayExist: () => true,
  spellings: (text) => [text.replace(/\/$/, "")],
  async openCheck(tree, options) {
    const { S3Check } = await import("./check.js");
    const service = destinationService(options.spec);
    const { timeoutMs, retries, userAgent, s3Keys } = options.spec;
    const terms = { service, key: s3Keys?.destination, timeoutMs, retries, userAgent };
    return new S3Check(tree as S3Tree, terms, options.signal, options.warn);
  },
  async openForesight(tree, options) {
    const { S3Foresight } = await import("./foresight.js");
    return new S3Foresight(tree as S3Tree, options);
  },
  refuse(root, services, allowed) {
    const { endpoint } = destinationService({ ...services, root });
    const below = allowed.roots.some((each) => isBelow(root, each));
    if (below && endpoint === allowed.services.s3?.endpoint) return undefined;
    return `${below ? `${root} at ${endpoint}` : root} is outside of what this worker writes to`;
  },
  workerRoot: parseRoot,
};

function isSameService(one: S3Spec, other: S3Spec | undefined): boolean {
  return hasSameBuckets(one, other) && (one.profile === other?.profile || isAws(one.endpoint));
}

/** Names of buckets are those of a service; of AWS, of all its regions. */
function hasSameBuckets(one: S3Spec, other: S3Spec | undefined): boolean {
  if (other === undefined) return false;
  return one.endpoint === other.endpoint || (isAws(one.endpoint) && isAws(other.endpoint));
}

/** Objects of S3 services. All buckets of a service share one breaker: what breaks is the service. */
export const s3Storage: Storage = {
  name: "s3",
  schemes: ["s3"],
  example: "bucket/key",
  noun: "object",
  treeNoun: "prefix",
  listsSizes: true,
  settings: "s3",
  destination,

  /** `s3:///key` leaves the bucket to the settings. */
  parse(text, context) {
    const { bucket } = context;
    if (!/^s3:\/\/\//i.test(text) || !("bucket" in context)) return s3Text(parseS3(text));
    if (bucket === undefined)
      throw new SettingsError(`${text} names no bucket: write s3://bucket/key, or set --s3-bucket`);
    return s3Text(parseS3(`s3://${bucket}${text.slice("s3://".length)}`));
  },
  hostOf: (_location, { s3 }) => originHost(s3?.endpoint ?? awsEndpoint("us-east-1")),
  bucketOf: (location) => parseS3(location).bucket,
  requests: S3_REQUESTS,
  identity: ({ s3 }) => [s3?.endpoint ?? ""],
  flightTerms: ({ s3 }) => s3,
  /** `name`: the last part of the key. `url`: bucket and key. */
  fileName(location, layout) {
    const { bucket, key } = parseS3(location);
    return layout === "name" ? baseName(key) : `${bucket}/${key}`;
  },
  isTree(location) {
    const { key } = parseS3(location);
    return key === "" || key.endsWith("/") ? true : undefined;
  },
  async loadSources() {
    const { S3Sources } = await import("./sources.js");
    return (options): Sources => new S3Sources(options);
  },
  async openContents(options) {
    const { S3Contents } = await import("./contents.js");
    return new S3Contents(options);
  },
  async openPeek(options) {
    const { S3Peek } = await import("./peek.js");
    return new S3Peek(options);
  },
  async openLister(options) {
    const { S3Lister } = await import("./listing/lister.js");
    return new S3Lister(options);
  },
};
