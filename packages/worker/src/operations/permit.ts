import { accessHash, type Permissions } from "@drover/shared/permissions";
import type { CatalogEntry } from "@drover/shared/protocol/catalog-entry";
import type { SourceEntry } from "@drover/shared/storage/source";
import type { Attempt } from "../attempt/attempt.js";

/** The permissions that a copy is to have: those that were asked for, else those of its source. */
export function wantedPermissions(
  { job }: Attempt,
  { mode = undefined, access = {} }: Pick<SourceEntry, "mode" | "access">,
): Permissions {
  const wanted = job.m ?? mode;
  return { ...(wanted === undefined ? {} : { mode: wanted }), ...(job.a ?? access) };
}

/** A copy with its permissions. */
export interface Permitted {
  entry: CatalogEntry;
  /** The destination does not keep all of them. */
  permissionsLost?: true;
}

/**
 * Gives a copy whose bytes are right its permissions, as far as it has others.
 *
 * @returns the entry as it is then. What the destination does not keep is in it, too, and is not tried again.
 */
export async function permit(attempt: Attempt, entry: CatalogEntry, source: SourceEntry): Promise<Permitted> {
  const { mode, ...access } = wantedPermissions(attempt, source);
  const hash = accessHash(access);
  const isOther = {
    mode: mode !== undefined && mode !== entry.mode,
    access: hash !== undefined && hash !== entry.access,
  };
  if (!isOther.mode && !isOther.access) return { entry };
  const permissions = {
    ...(isOther.mode && mode !== undefined ? { mode } : {}),
    ...(isOther.access ? access : {}),
  };
  const kept = await attempt.context.destination.permit?.(attempt, permissions, entry);
  return {
    entry: {
      ...entry,
      ...(kept?.stamp === undefined ? {} : { stamp: kept.stamp }),
      ...(mode === undefined ? {} : { mode }),
      ...(hash === undefined ? {} : { access: hash }),
    },
    ...(kept?.all ? {} : { permissionsLost: true }),
  };
}
