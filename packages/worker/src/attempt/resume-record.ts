import { bootId } from "@drover/shared/process-name";

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
  /** What is staged beyond `contiguousBytes`, in its order: from the first byte up to, but not including, the last. */
  spans: { startByte: number; endByte: number }[];
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
    spans: [],
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
  record.spans = [];
}

const BOOT = bootId();

export function encodeResumeRecord(record: ResumeRecord): string {
  const { fence, version, strongEtag, sizeBytes, contiguousBytes, mismatches } = record;
  const { oneStream, upload, spans } = record;
  return JSON.stringify([
    fence,
    version,
    strongEtag,
    sizeBytes ?? -1,
    contiguousBytes,
    // Earlier versions had numbers of pieces here.
    [],
    mismatches,
    BOOT,
    ...(upload || oneStream || spans.length > 0
      ? [upload?.id ?? null, upload?.metadata ?? "", upload?.object ?? "", oneStream ? 1 : 0]
      : []),
    ...(spans.length > 0 ? [spans.flatMap(({ startByte, endByte }) => [startByte, endByte])] : []),
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
    ,
    mismatches,
    boot,
    uploadId,
    metadata = "",
    object = "",
    oneStream = 0,
    bounds = [],
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
    number[] | undefined,
  ];
  const spans = [];
  for (let at = 0; at + 1 < bounds.length; at += 2)
    spans.push({ startByte: bounds[at] as number, endByte: bounds[at + 1] as number });
  const record: ResumeRecord = {
    fence,
    version,
    strongEtag,
    sizeBytes: size < 0 ? undefined : size,
    contiguousBytes,
    spans,
    receivedBytes: contiguousBytes,
    mismatches,
    oneStream: oneStream === 1,
    ...(uploadId === undefined || uploadId === null
      ? {}
      : { upload: { id: uploadId, metadata, ...(object ? { object } : {}) } }),
  };
  return boot === BOOT && BOOT !== "0" ? closeGaps(record) : { ...record, contiguousBytes: 0, spans: [] };
}

/** Takes spans that are not behind a gap any more for what they are: the record may have been saved before anybody noted that. */
function closeGaps(record: ResumeRecord): ResumeRecord {
  const { spans } = record;
  while (spans[0] && spans[0].startByte <= record.contiguousBytes)
    record.contiguousBytes = Math.max(record.contiguousBytes, (spans.shift() as (typeof spans)[0]).endByte);
  record.receivedBytes = record.contiguousBytes;
  return record;
}
