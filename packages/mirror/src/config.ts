import type { RunRequestInput } from "@drover/producer/runs/plan/request";

/** A tree that is kept as a prefix of a bucket is. */
export interface MirrorConfig {
  name: string;
  bucket: string;
  /** Prefix of the keys: "", or ending in `/`. */
  prefix: string;
  /** Root of the destination, as the storage parses it. */
  root: string;
  /** Time in ms from the begin of one incremental sync of the daemon to the next. */
  intervalMs: number;
  /** Time in ms between two full listings of the daemon. */
  reconcileMs: number;
  /** Where each sync is reported to. */
  reportUrls: string[];
  /** Signs the reports, as Standard Webhooks has it; undefined for no signature. */
  reportSecret: string | undefined;
  /** Absolute path of the SQLite database that is brought up to date after each sync; undefined for none. */
  database: string | undefined;
  /** Absolute path of the directory of the state files. */
  dataDir: string;
  /** Root in S3 where each version that is copied is kept, too; undefined for none. */
  backup: string | undefined;
  /** S3 service of the backup, where it is another than that of the source. */
  backupEndpoint: string | undefined;
  /** Most removals that a full listing may lead to, in files or percent of the records. */
  most: { files: number } | { percent: number };
  /** What all runs of the mirror have in common. */
  request: Omit<RunRequestInput, "selection" | "destination">;
}
