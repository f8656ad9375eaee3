import { SettingsError } from "@drover/shared/errors";
import type { RunSpec } from "@drover/shared/run";
import { type Location, storageOf } from "@drover/shared/storage/registry";
import type { CustomerKeyTexts } from "@drover/shared/storage/s3/object/customer-key";
import type { Services } from "@drover/shared/storage/storage";
import type { S3Settings } from "./request.js";

/** The flags that name the files of keys. */
const DESTINATION = "--s3-sse-customer-key-file";
export const SOURCE_KEY_FLAG = "--s3-source-sse-customer-key-file";

/**
 * Checks the keys that objects are encrypted with.
 *
 * @returns undefined if there are none.
 * @throws SettingsError, without a key, where one is of no use, or would be sent so that others can read it.
 */
export function planCustomerKeys(
  { customerKeys, objects }: S3Settings,
  run: { spec: RunSpec; sources: Location[]; hasList: boolean },
): CustomerKeyTexts | undefined {
  const { source, destination } = customerKeys ?? {};
  const { spec, sources, hasList } = run;
  if (destination !== undefined) {
    if (storageOf(spec.root).settings !== "s3")
      throw new SettingsError(
        `${DESTINATION} is for objects of S3, and the destination ${spec.root} is none: leave it out`,
      );
    if (objects?.sse !== undefined)
      throw new SettingsError(`${DESTINATION} and --s3-sse exclude each other: choose one`);
  }
  if (source !== undefined) {
    if (!hasList && !sources.some(({ storage }) => storage.settings === "s3"))
      throw new SettingsError(`${SOURCE_KEY_FLAG} is for objects of S3, and no source is one: leave it out`);
  }
  refuseInTheOpen({ source, destination }, spec);
  if (source === undefined && destination === undefined) return undefined;
  return {
    ...(source === undefined ? {} : { source }),
    ...(destination === undefined ? {} : { destination }),
  };
}

/**
 * Refuses keys that would be sent, with every request, so that others can read them.
 *
 * @throws SettingsError
 */
export function refuseInTheOpen(
  { source, destination }: CustomerKeyTexts,
  { s3, s3Destination }: Services,
): void {
  const sent = [
    ...(source === undefined ? [] : [[SOURCE_KEY_FLAG, s3] as const]),
    ...(destination === undefined ? [] : [[DESTINATION, s3Destination ?? s3] as const]),
  ];
  for (const [flag, service] of sent) {
    if (!service) continue;
    const { protocol, hostname } = new URL(service.endpoint);
    if (protocol === "https:" || /^(localhost|127\.[\d.]+|\[::1\])$/.test(hostname)) continue;
    throw new SettingsError(`${flag} would send the key to ${service.endpoint} in the clear: it needs https`);
  }
}
