/** What `import "drover"` gives where Drover is installed as one package: both of its interfaces, see docs/library.md. */
export * from "@drover/producer";
export {
  type ClientOptions,
  DroverClient,
  ServiceError,
  type ServiceFile,
  type ServiceRun,
  type ServiceRunRequest,
} from "@drover/service/client/client";
export * from "@drover/worker";
export {
  type CacheOptions,
  type PairOptions,
  type SettingsOptions,
  type SyncOptions,
  sync,
  type TemplatesOptions,
} from "./library-sync.js";
