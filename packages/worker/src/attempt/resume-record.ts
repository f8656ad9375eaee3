import { bootId } from "@drover/shared/process-name";

/** Size in bytes of the segments in which a large file is fetched if the source supports ranges. */
export const PIECE_BYTES = 32 << 20;
/** Fewest staged bytes that are worth resuming. */
export const WORTH_RESUMING_BYTES = 1 << 20;

/** State of a file's staging. It is saved in the lease's record so that the next attempt can continue. */
export interface ResumeRecord {
  /** Fence in the name of the staging file. */
  fence: string;
  /** Version of the source that the staged bytes belong to. */
  version: string;
  strongEtag: string;
  sizeBytes: number | undefined;
  /** Number of bytes staged without a gap from the start. */
  contiguousBytes: number;
  /** Indexes of complete segments beyond `contiguousBytes`. */
  pieces: number[];
  /** Bytes received, for the display of progress. */
  receivedBytes: number;
  /** Attempts that ended with a wrong checksum. */
  mismatches: number;
  /** Whether the source failed to serve ranges it announced: the file is then requested as a whole. */
  oneStream: boolean;
  /**
   * Multipart upload that may hold the bytes, if the destination is S3. `object` is the hash of the target
   * object if that is a backup rather than the destination.
   */
  upload?: { id: string; metadata: string; object?: string };
}

/**
 * Makes the record of a file without staged bytes.
 *
 * @param before record of earlier attempts: what they learnt of the source still holds, and their upload may
 *   exist.
 */
export function newResumeRecord(fence: string, before?: ResumeRecord): ResumeRecord {
  const record: ResumeRecord = {
    fence,
    version: "",
    strongEtag: "",
    sizeBytes: undefined,
    contiguousBytes: 0,
    pieces: [],
    receivedBytes: 0,
    mismatches: before?.mismatches ?? 0,
    oneStream: before?.oneStream ?? false,
  };
  if (before?.upload) record.upload = before.upload;
  return record;
}

/** Discards all staged bytes from the record. */
export function dropBytes(record: ResumeRecord): void {
  record.contiguousBytes = 0;
  record.pieces = [];
}

const BOOT = bootId();

export function encodeResumeRecord(record: ResumeRecord): string {
  const { fence, version, strongEtag, sizeBytes, contiguousBytes, pieces, mismatches } = record;
  const { oneStream, upload } = record;
  return JSON.stringify([
    fence,
    version,
    strongEtag,
    sizeBytes ?? -1,
    contiguousBytes,
    pieces,
    mismatches,
    BOOT,
    ...(upload || oneStream
      ? [upload?.id ?? null, upload?.metadata ?? "", upload?.object ?? "", oneStream ? 1 : 0]
      : []),
  ]);
}

/**
 * Decodes a record. Bytes written before the last boot of the machine are not trusted, as they were never
 * synced.
 */
export function decodeResumeRecord(note: string): ResumeRecord | undefined {
  if (note === "") return undefined;
  const [
    fence,
    version,
    strongEtag,
    size,
    contiguousBytes,
    pieces,
    mismatches,
    boot,
    uploadId,
    metadata = "",
    object = "",
    oneStream = 0,
  ] = JSON.parse(note) as [
    string,
    string,
    string,
    number,
    number,
    number[],
    number,
    string,
    string | null | undefined,
    string | undefined,
    string | undefined,
    number | undefined,
  ];
  const record: ResumeRecord = {
    fence,
    version,
    strongEtag,
    sizeBytes: size < 0 ? undefined : size,
    contiguousBytes,
    pieces,
    receivedBytes: contiguousBytes,
    mismatches,
    oneStream: oneStream === 1,
    ...(uploadId === undefined || uploadId === null
      ? {}
      : { upload: { id: uploadId, metadata, ...(object ? { object } : {}) } }),
  };
  return boot === BOOT && BOOT !== "0" ? record : { ...record, contiguousBytes: 0, pieces: [] };
}
