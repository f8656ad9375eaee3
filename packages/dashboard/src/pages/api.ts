/** What the API answers with, as far as the pages show it. Its schemas are in `/openapi.json`. */

export interface Run {
  id: string;
  kind: "sync" | "fetch";
  label: string | null;
  state: "running" | "interrupted" | "done" | "cancelled";
  started_at: string;
  ended_at: string | null;
  sources: string[];
  sources_count: number;
  destination: string;
  sealed: boolean;
  files: number;
  settled: number;
  copied: number;
  unchanged: number;
  deleted: number;
  failed: number;
  blocked: number;
  locked: number;
  cancelled: number;
  bytes: number;
  not_deleted_because: string | null;
  stopped_because: string | null;
  files_per_second: number | null;
  eta_seconds: number | null;
}

export interface RunPage {
  runs: Run[];
  next: string | null;
}

export interface Overview {
  at: string;
  state: "ok" | "warning" | "critical";
  sentence: string;
  files_per_second: number;
  bytes_per_second: number;
  oldest_waiting_seconds: number;
  open_files: number;
  waiting_files: number;
  blocked_files: number;
  workers: { alive: number; draining: number; capacity: number; carrying: number };
  queue: { waiting: number; active: number; delayed: number };
  runs: { running: number; interrupted: number };
  blocked_hosts: {
    host: string;
    breaker: "open" | "half-open";
    open_until: string | null;
    since: string;
    files: number;
    runs: number;
  }[];
  dispatch_paused: boolean;
}

export interface OverviewSample {
  at: string;
  files_per_second: number;
  bytes_per_second: number;
  oldest_waiting_seconds: number;
  waiting_files: number;
  carrying: number;
}

export interface FailureGroups {
  groups: { class: string; host: string; files: number; retriable: number }[];
  files: number;
  retriable: number;
  truncated: boolean;
}

export interface File {
  source: string | null;
  destination: string;
  outcome: string;
  bytes: number;
  attempts: number;
  duration_ms: number;
  error: { class: string; message: string } | null;
}

export interface Worker {
  id: string;
  host: string;
  pid: number;
  started_at: string;
  concurrency: number;
  roots: string[];
  leads: boolean;
  draining: boolean;
  carrying: Carried[];
}

/** A file that a worker carries. */
export interface Carried {
  run: string;
  source: string;
  destination: string;
  since: string;
  received_bytes: number;
  size_bytes: number | null;
}

/** Files of a run that did not succeed. */
export function failuresOf({ failed, blocked, locked, cancelled }: Run): number {
  return failed + blocked + locked + cancelled;
}
