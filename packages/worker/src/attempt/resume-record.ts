import { bootId } from "@drover/shared/process-name";

/** Pieces that a large file is fetched in when the source takes ranges. */
export const PIECE_BYTES = 32 << 20;
/** Less than this is not worth resuming. */
export const WORTH_RESUMING_BYTES = 1 << 20;

/** What is known of a staged part, kept in the lease's record so that a successor can go on. */
export interface ResumeRecord {
  /** Fence in the name of the staging file. */
  fence: string;
  /** Identifies the version that the part is of. */
  version: string;
  strongEtag: string;
  sizeBytes: number | undefined;
  /** Bytes that are there from the start. */
  contiguousBytes: number;
  /** Pieces beyond them that are there too. */
  pieces: number[];
  /** Bytes that have come in, for show. */
  receivedBytes: number;
  /** Tries that ended with a wrong checksum. */
  mismatches: number;
  /** The source did not give the ranges that it announced: from now on it is asked for the whole. */
  oneStream: boolean;
  /**
   * Multipart upload that holds the bytes, where the destination is S3: it may be there. `object` is the hash of the
   * object that it is to become, where that is not the destination: a backup of it.
   */
  upload?: { id: string; metadata: string; object?: string };
}

/**
 * Of a file that nothing is staged of.
 *
 * @param before what former tries noted: what they found out of the source still holds, and an upload may be there.
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

/** None of the bytes that are there are of use. */
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

/** Reads a note; bytes that were written before the machine last started are not trusted, they were never synced. */
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
