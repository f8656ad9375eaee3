/**
 * Exits with 0 if the mirror of the environment is being synced, or its next sync is not overdue, else with 1. A daemon that
 * hangs or is gone lets it become overdue.
 */
import { execFileSync } from "node:child_process";

const OVERDUE_MS = 60_000;
const { syncing, next_sync_at: next } = JSON.parse(
  execFileSync("drover", ["mirror", "status", "--json"], { encoding: "utf8", timeout: 9_000 }),
);
process.exit(syncing !== null || (next !== null && Date.parse(next) > Date.now() - OVERDUE_MS) ? 0 : 1);
