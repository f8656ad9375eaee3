import { createHash, randomBytes } from "node:crypto";
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  ListPartsCommand,
  NoSuchKey,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { type FauxqsServer, startFauxqs } from "fauxqs";
import { afterAll } from "vitest";
import { CONTAINER_LIFE_SECONDS, dockerAnswers, testcontainers } from "./docker.js";

/** Where a test's S3 is, and what signs for it. */
export interface S3Service {
  endpoint: string;
  accessKeyId: string;
  secretAccessKey: string;
}

/**
 * A real service: the one that the environment names (DROVER_TEST_S3_ENDPOINT, …_KEY, …_SECRET), else one in a container
 * where a Docker engine answers, else undefined. DROVER_TEST_S3=local wants no container, =docker insists on it. To be
 * called once per test file, before its tests are declared.
 */
export async function realS3(): Promise<S3Service | undefined> {
  const { DROVER_TEST_S3_ENDPOINT, DROVER_TEST_S3_KEY, DROVER_TEST_S3_SECRET } = process.env;
  if (DROVER_TEST_S3_ENDPOINT)
    return {
      endpoint: DROVER_TEST_S3_ENDPOINT,
      accessKeyId: DROVER_TEST_S3_KEY ?? "",
      secretAccessKey: DROVER_TEST_S3_SECRET ?? "",
    };
  const wanted = process.env.DROVER_TEST_S3 ?? "";
  if (!["", "docker", "local"].includes(wanted))
    throw new Error(`DROVER_TEST_S3 must be docker or local, not ${JSON.stringify(wanted)}`);
  if (wanted === "docker") return await launch();
  if (wanted === "local" || !(await dockerAnswers())) return undefined;
  try {
    return await launch();
  } catch (error) {
    // An engine that cannot have the image, such as one without a network, is as good as none.
    console.warn(`no S3 service from Docker (${String(error)}): using the one in this process`);
    return undefined;
  }
}

/** Ceph's gateway in a container, which ends with the test file. Its image is made on the first call. */
async function launch(): Promise<S3Service> {
  const { GenericContainer, Wait } = await testcontainers();
  const image = await GenericContainer.fromDockerfile(import.meta.dirname, "ceph.Dockerfile").build(
    "drover-test-ceph",
    { deleteOnExit: false },
  );
  const container = await image
    .withCommand([String(CONTAINER_LIFE_SECONDS)])
    .withExposedPorts(8000)
    .withWaitStrategy(Wait.forLogMessage(/S3 is ready/))
    .withStartupTimeout(120_000)
    .start();
  afterAll(async () => void (await container.stop({ remove: true, timeout: 0 })));
  return {
    endpoint: `http://${container.getHost()}:${container.getMappedPort(8000)}`,
    accessKeyId: "DROVERTEST",
    secretAccessKey: "DROVERTESTSECRET",
  };
}

/**
 * A bucket of its own on an S3 service: on the one that is given, else on one in this process. That one does not check
 * signatures, conditions of writes or checksums, and takes no object over 11 MiB.
 */
export class TestS3 {
  readonly bucket = `drover-${randomBytes(6).toString("hex")}`;
  readonly #client: S3Client;

  private constructor(
    readonly service: S3Service,
    private readonly server: FauxqsServer | undefined,
  ) {
    const { endpoint, accessKeyId, secretAccessKey } = service;
    this.#client = new S3Client({
      endpoint,
      region: "us-east-1",
      forcePathStyle: true,
      credentials: { accessKeyId, secretAccessKey },
      requestChecksumCalculation: "WHEN_REQUIRED",
    });
  }

  static async start(service?: S3Service): Promise<TestS3> {
    const server = service ? undefined : await startFauxqs({ port: 0, logger: false });
    const here = server && {
      endpoint: `http://127.0.0.1:${server.port}`,
      accessKeyId: "test",
      secretAccessKey: "test-SECRET-CANARY",
    };
    const s3 = new TestS3((service ?? here) as S3Service, server);
    await s3.#client.send(new CreateBucketCommand({ Bucket: s3.bucket }));
    return s3;
  }

  /** Lets the bucket keep every version of its objects. */
  async keepVersions(): Promise<void> {
    const VersioningConfiguration = { Status: "Enabled" } as const;
    await this.#client.send(new PutBucketVersioningCommand({ Bucket: this.bucket, VersioningConfiguration }));
  }

  /** Environment of a `drover` command that may use it. */
  get env(): Record<string, string> {
    return {
      AWS_ACCESS_KEY_ID: this.service.accessKeyId,
      AWS_SECRET_ACCESS_KEY: this.service.secretAccessKey,
      AWS_ENDPOINT_URL_S3: this.service.endpoint,
      AWS_REGION: "us-east-1",
      AWS_EC2_METADATA_DISABLED: "true",
    };
  }

  url(key: string): string {
    return `s3://${this.bucket}/${key}`;
  }

  async put(key: string, content: Buffer | string, sha256 = false): Promise<void> {
    const checksum = sha256 ? ({ ChecksumAlgorithm: "SHA256" } as const) : {};
    await this.#client.send(
      new PutObjectCommand({ Bucket: this.bucket, Key: key, Body: content, ...checksum }),
    );
  }

  async putAll(contents: Readonly<Record<string, string>>): Promise<void> {
    const all = Object.entries(contents);
    for (let from = 0; from < all.length; from += 32)
      await Promise.all(all.slice(from, from + 32).map(([key, content]) => this.put(key, content)));
  }

  async get(key: string): Promise<string> {
    const { Body } = await this.#client.send(new GetObjectCommand({ Bucket: this.bucket, Key: key }));
    return (await Body?.transformToString()) as string;
  }

  /** Bytes of an object; undefined where there is none. */
  async find(key: string): Promise<Buffer | undefined> {
    try {
      const { Body } = await this.#client.send(new GetObjectCommand({ Bucket: this.bucket, Key: key }));
      return Buffer.from((await Body?.transformToByteArray()) ?? []);
    } catch (error) {
      if (error instanceof NoSuchKey) return undefined;
      throw error;
    }
  }

  /**
   * What the service keeps with an object.
   *
   * @param customerKey that it is encrypted with. Default: with none.
   */
  async head(key: string, customerKey?: Buffer) {
    const sseC = customerKey && {
      SSECustomerAlgorithm: "AES256",
      SSECustomerKey: customerKey.toString("base64"),
      SSECustomerKeyMD5: createHash("md5").update(customerKey).digest("base64"),
    };
    const told = await this.#client.send(
      new HeadObjectCommand({ Bucket: this.bucket, Key: key, ...(sseC ?? {}) }),
    );
    return {
      type: told.ContentType,
      encoding: told.ContentEncoding,
      cacheControl: told.CacheControl,
      disposition: told.ContentDisposition,
      language: told.ContentLanguage,
      metadata: told.Metadata,
      storageClass: told.StorageClass,
    };
  }

  async tags(key: string): Promise<Record<string, string>> {
    const { TagSet = [] } = await this.#client.send(
      new GetObjectTaggingCommand({ Bucket: this.bucket, Key: key }),
    );
    return Object.fromEntries(TagSet.map(({ Key = "", Value = "" }) => [Key, Value]));
  }

  /** Keys of up to 1,000 objects. */
  async list(): Promise<string[]> {
    const { Contents = [] } = await this.#client.send(new ListObjectsV2Command({ Bucket: this.bucket }));
    return Contents.map(({ Key }) => Key as string);
  }

  /** Ids of multipart uploads that are under way. */
  async uploads(): Promise<string[]> {
    const { Uploads = [] } = await this.#client.send(
      new ListMultipartUploadsCommand({ Bucket: this.bucket }),
    );
    return Uploads.map(({ UploadId }) => UploadId as string);
  }

  /** Bytes that multipart uploads under way have. */
  async uploadedBytes(): Promise<number> {
    const { Uploads = [] } = await this.#client.send(
      new ListMultipartUploadsCommand({ Bucket: this.bucket }),
    );
    let bytes = 0;
    for (const { Key, UploadId } of Uploads) {
      const { Parts = [] } = await this.#client.send(
        new ListPartsCommand({ Bucket: this.bucket, Key, UploadId }),
      );
      for (const { Size = 0 } of Parts) bytes += Size;
    }
    return bytes;
  }

  /** @param VersionId removes this version for good. Default: the latest, as the bucket does that. */
  async remove(key: string, VersionId?: string): Promise<void> {
    await this.#client.send(new DeleteObjectCommand({ Bucket: this.bucket, Key: key, VersionId }));
  }

  async stop(): Promise<void> {
    if (!this.server) {
      for (;;) {
        const { Versions = [], DeleteMarkers = [] } = await this.#client.send(
          new ListObjectVersionsCommand({ Bucket: this.bucket }),
        );
        const all = [...Versions, ...DeleteMarkers];
        if (all.length === 0) break;
        await Promise.all(all.map(({ Key = "", VersionId }) => this.remove(Key, VersionId)));
      }
      await this.#client.send(new DeleteBucketCommand({ Bucket: this.bucket }));
    }
    this.#client.destroy();
    await this.server?.stop();
  }
}
