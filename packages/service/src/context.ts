import type { Engine } from "@drover/shared/engine";
import type { Logger } from "pino";
import type { ServiceConfig } from "./config.js";
import type { RunKeeper } from "./runs/keeper.js";

/** What the routes work with. */
export interface ServiceContext {
  engine: Engine;
  config: ServiceConfig;
  keeper: RunKeeper;
  log: Logger;
  /** Aborted when the server stops: whoever is made to wait gets an answer then. */
  stopping: AbortSignal;
}
