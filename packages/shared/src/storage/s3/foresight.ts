import { TransferError } from "../../errors.js";
import type { FileFacts } from "../../leave.js";
import type { Foreseen, ForeseenFile, Foresight, ForesightOptions, Peeked } from "../storage.js";
import type { ObjectHead } from "./bucket.js";
import { S3Check } from "./check.js";
import { objectFacts } from "./object/facts.js";
import { type ConditionForm, LEAST_PART_BYTES, MOST_COPY_BYTES } from "./object/limits.js";
import { etagMd5, isOutdated, readMetadata } from "./object/metadata.js";
import { destinationService, isAws } from "./service/service.js";
import type { S3Tree } from "./tree.js";

/** Files that are compared at once. */
const AT_ONCE = 16;

/** Tells what a run would find below a prefix. It decides as S3Destination and the ways of S3Staging do. */
export class S3Foresight implements Foresight {
  readonly #check: S3Check;
  #forms: Promise<Record<string, string>> | undefined;

  constructor(
    tree: S3Tree,
    private readonly options: ForesightOptions,
  ) {
    const { spec, signal, warn } = options;
    const { timeoutMs, retries, userAgent, s3Keys } = spec;
    const service = destinationService(spec);
    const terms = { service, key: s3Keys?.destination, timeoutMs, retries, userAgent };
    this.#check = new S3Check(tree, terms, signal, warn);
  }

  async foresee(files: ForeseenFile[]): Promise<(Foreseen | TransferError)[]> {
    const heads = await this.#check.heads(files.map(({ name }) => name));
    const found: (Foreseen | TransferError)[] = [];
    let next = 0;
    const one = async () => {
      while (next < files.length) {
        const at = next++;
        found[at] = await this.#judge(files[at] as ForeseenFile, heads[at] as (typeof heads)[number]);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
    return found;
  }

  async #judge(
    file: ForeseenFile,
    found: "nothing" | ObjectHead | TransferError,
  ): Promise<Foreseen | TransferError> {
    try {
      return await this.#foresee(file, found);
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      return error.permanent ? error : "unclear";
    }
  }

  async look(names: string[]): Promise<(FileFacts | "nothing" | undefined)[]> {
    const heads = await this.#check.heads(names);
    return names.map((_, at) => {
      const head = heads[at];
      if (head === undefined || head === "nothing") return head;
      return head instanceof TransferError ? undefined : objectFacts(head);
    });
  }

  async #foresee(
    { sourceId, expected, last, peek, isServerCopy }: ForeseenFile,
    found: "nothing" | ObjectHead | TransferError,
  ): Promise<Foreseen> {
    const head = found === "nothing" || found instanceof TransferError ? undefined : found;
    const isChecked = this.options.spec.checkDestination;
    const isVouchedFor = last !== undefined && (!isChecked || head?.etag === last.stamp);
    if (expected !== undefined) {
      if (isVouchedFor && last.sha256 === expected) return "same";
      if (!isVouchedFor && head && readMetadata(head.headers).sha256 === expected) return "same";
    }
    const known = isVouchedFor && last.source === sourceId && expected === undefined ? last.version : "";
    // A copy by the service goes by the whole version, which was compared before.
    if (known !== "" && !isServerCopy && peek && (await peek()).isVersion(known)) return "same";
    if (found === "nothing") return "nothing";
    if (!head || !peek) return "unclear";
    const peeked = await peek();
    if (head.sizeBytes !== peeked.entry.sizeBytes) return "other";
    if (isServerCopy) return isCopyOf(head, peeked);
    if (head.sizeBytes <= LEAST_PART_BYTES) {
      const isBound = last?.stamp === head.etag && (await this.#form("put")) !== "none";
      return isBound ? "other" : await sameAsWhole(head, peeked);
    }
    if (peeked.path !== undefined) return await sameAsLarge(head, peeked);
    return (await this.#form("complete")) === "none" ? await sameAsParts(head, peeked) : "other";
  }

  /** How the service reads conditions, as a worker has noted it; nothing is tried here. Default: as most services do. */
  async #form(publishing: "put" | "complete"): Promise<ConditionForm> {
    const { engine, spec } = this.options;
    const { endpoint } = destinationService(spec);
    if (isAws(endpoint) || !engine) return "quoted";
    this.#forms ??= engine.redis.hgetall(engine.keys.service(endpoint));
    return ((await this.#forms)[publishing] as ConditionForm | undefined) ?? "quoted";
  }

  close(): Promise<void> {
    return this.#check.close();
  }
}

/** Compares with what its service would copy. */
async function isCopyOf(head: ObjectHead, { entry, digest }: Peeked): Promise<Foreseen> {
  if (head.etag === entry.strongEtag) return "same"; // equal ETags mean equal bytes, or equal parts
  const sha256 = await digest("sha256");
  return sha256 !== undefined && readMetadata(head.headers).sha256 === sha256 ? "same" : "other";
}

/** Compares with a file that is one request. */
async function sameAsWhole(head: ObjectHead, peeked: Peeked): Promise<Foreseen> {
  if (isOutdated(head.headers, peeked.entry)) return "other";
  const stored = etagMd5(head.headers);
  const md5 = stored === undefined ? undefined : await peeked.digest("md5");
  if (md5 !== undefined) return md5 === stored ? "same" : "other";
  const noted = readMetadata(head.headers).sha256;
  if (noted === undefined) return stored === undefined ? "other" : "unclear";
  return await compareDigest(noted, peeked);
}

/** Compares with a local file that goes in parts: it is hashed before. */
async function sameAsLarge(head: ObjectHead, peeked: Peeked): Promise<Foreseen> {
  if (isOutdated(head.headers, peeked.entry) && head.sizeBytes <= MOST_COPY_BYTES) return "other";
  const noted = readMetadata(head.headers);
  if (noted.sha256 !== undefined) return await compareDigest(noted.sha256, peeked);
  const md5 = etagMd5(head.headers) ?? (noted.md5 && Buffer.from(noted.md5, "base64").toString("hex"));
  return md5 !== undefined && (await peeked.digest("md5")) === md5 ? "same" : "other";
}

/** Compares with an object that goes in parts to a service without conditions, which is looked at before the end. */
async function sameAsParts(head: ObjectHead, peeked: Peeked): Promise<Foreseen> {
  const noted = readMetadata(head.headers).sha256;
  if (isOutdated(head.headers, peeked.entry) || noted === undefined) return "other";
  return await compareDigest(noted, peeked);
}

/** @param noted SHA-256 of an object, hexadecimal. */
async function compareDigest(noted: string, { digest }: Peeked): Promise<Foreseen> {
  const sha256 = await digest("sha256");
  if (sha256 === undefined) return "unclear";
  return sha256 === noted ? "same" : "other";
}
