/** API for Node programs that carry files: see docs/library.md. */
export { startLocalPool } from "./runtime/local-worker-pool.js";
export {
  type FleetLeader,
  type RunningWorker,
  startWorker,
  type WorkerOptions,
} from "./runtime/start-worker.js";
