import type { Engine } from "@drover/shared/engine";
import type { AddressGuard } from "@drover/shared/storage/http/guard";
import type { Logger } from "pino";
import type { ServiceConfig } from "./config.js";
import type { RunKeeper } from "./runs/keeper.js";

/** What the routes work with. */
export interface ServiceContext {
  engine: Engine;
  config: ServiceConfig;
  keeper: RunKeeper;
  /** Decides where requests may lead this server. */
  guard: AddressGuard;
  log: Logger;
  /** Aborted when the server stops: whoever is made to wait gets an answer then. */
  stopping: AbortSignal;
}
