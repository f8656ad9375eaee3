import { accessHash, type Grant, type Permissions } from "@drover/shared/permissions";
import type { CatalogEntry } from "@drover/shared/protocol/catalog-entry";
import { isLive, type WantedEntry } from "./entry.js";

/** The permissions that events asked for. */
export function permissionsOf({ mode, owner, grants }: WantedEntry): Permissions {
  return {
    ...(mode === undefined ? {} : { mode }),
    ...(owner === undefined ? {} : { owner }),
    ...(grants === undefined ? {} : { grants: JSON.parse(grants) as Grant[] }),
  };
}

/** Whether events asked for permissions that the copy was not given. */
export function asksOtherPermissions(
  wanted: WantedEntry | undefined,
  applied: CatalogEntry | undefined,
): boolean {
  if (!isLive(wanted)) return false;
  const { mode, ...access } = permissionsOf(wanted);
  const hash = accessHash(access);
  return (mode !== undefined && mode !== applied?.mode) || (hash !== undefined && hash !== applied?.access);
}
