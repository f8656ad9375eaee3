import { storageOf } from "@drover/shared/storage/registry";
import type { Services } from "@drover/shared/storage/storage";
import type { RunRequest } from "./request.js";

/** The settings of services in a request. */
export type ServicesRequest = Pick<RunRequest, "s3">;

/** Completes the settings of a service, by the name that its storage gives it. Loaded on demand. */
const PLANNERS: Record<string, (request: ServicesRequest, writes: boolean) => Promise<Services>> = {
  s3: async ({ s3 }, writes) => (await import("./s3-services.js")).planS3Services(s3, writes),
};

/** The locations that are read and written. */
export interface Locations {
  read: string[];
  /** Whether any other location may be read, since a list may name it. */
  readsAny?: boolean;
  written?: string;
}

/**
 * Plans how the storages of the given locations are reached, if they need settings.
 *
 * @throws SettingsError for invalid settings.
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
