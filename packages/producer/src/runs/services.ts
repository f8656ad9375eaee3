import { storageOf } from "@drover/shared/storage/registry";
import type { Services } from "@drover/shared/storage/storage";
import type { RunRequest } from "./request.js";

/** What a request says of services. */
export type ServicesRequest = Pick<RunRequest, "s3">;

/** What completes what a request says of a service, by the name that its storage gives that. Loaded where needed. */
const PLANNERS: Record<string, (request: ServicesRequest, writes: boolean) => Promise<Services>> = {
  s3: async ({ s3 }, writes) => (await import("./s3-services.js")).planS3Services(s3, writes),
};

/** What is read and written. */
export interface Locations {
  read: string[];
  /** Anything may be read besides: a list may name it. */
  readsAny?: boolean;
  written?: string;
}

/**
 * How storages are reached, as far as they need settings.
 *
 * @throws SettingsError for settings that cannot be.
 */
export async function planServices(request: ServicesRequest, locations: Locations): Promise<Services> {
  const settingsOf = (location: string) => storageOf(location).settings;
  const read = locations.read.map(settingsOf);
  const written = locations.written === undefined ? undefined : settingsOf(locations.written);
  const services: Services = {};
  for (const [name, plan] of Object.entries(PLANNERS))
    if (locations.readsAny || written === name || read.includes(name))
      Object.assign(services, await plan(request, written === name));
  return services;
}
