import { readCsv } from "@drover/producer/catalog/csv";
import { type Row, toText } from "@drover/producer/catalog/rows";
import { messageOf, SettingsError } from "@drover/shared/errors";
import { accessHash } from "@drover/shared/permissions";
import { destinationOf } from "@drover/shared/storage/registry";
import type { MirrorContext } from "../context.js";
import { permissionsOf } from "../state/asked-permissions.js";
import type { WantedEntry } from "../state/entry.js";
import type { Holding } from "../state/holding.js";

const PAGE = 1_000;

/**
 * Adds the records of an exported state (CSV) to both states of a mirror. All of it is read and checked first. What is known
 * already is kept. The next full listing finds what has changed since.
 *
 * @throws SettingsError naming the line that is wrong.
 */
export async function importState(
  context: MirrorContext,
  holding: Holding,
  file: string,
): Promise<{ added: number; known: number }> {
  const { state, catalog, tree, config } = context;
  const { checkName } = destinationOf(config.root);
  const rows = async function* () {
    for await (const { row, line } of readCsv(file, ["path", "size", "sha256", "version"])) {
      const where = `${file}, line ${line}`;
      const path = toText(row.path);
      if (path === undefined) throw new SettingsError(`${where}: it is not valid UTF-8`);
      try {
        checkName(path);
      } catch (error) {
        throw new SettingsError(`${where}: ${messageOf(error)}`);
      }
      if (!/^([\w-]{12})?$/.test(row.sourceId))
        throw new SettingsError(`${where}: source_id must be 12 characters of base64url, or empty`);
      yield { path, row };
    }
  };
  for await (const _row of rows());
  await catalog.register(tree);
  const counts = { added: 0, known: 0 };
  let page: { path: string; row: Row }[] = [];
  const add = async () => {
    const olds = await state.lookUp(page.map(({ path }) => path));
    const missing = page.filter((_, at) => olds[at] === undefined);
    const entries = new Map(missing.map(({ path, row }) => [path, wantedOf(row)]));
    await catalog.addMissing(
      tree.id,
      page
        .filter(({ row }) => row.sourceId !== "" && row.stamp !== "")
        .map(({ path, row }) => ({
          name: path,
          entry: {
            source: row.sourceId,
            version: toText(row.version) ?? "",
            sha256: row.sha256,
            stamp: toText(row.stamp) ?? "",
            sizeBytes: row.sizeBytes,
            ...(row.mode === "" ? {} : { mode: Number.parseInt(row.mode, 8) }),
            ...givenAccess(row),
          },
        })),
    );
    await state.change(holding.fence, { entries });
    counts.added += missing.length;
    counts.known += page.length - missing.length;
    page = [];
  };
  for await (const each of rows()) if (page.push(each) >= PAGE) await add();
  if (page.length > 0) await add();
  return counts;
}

/** Owner and grants in a row of an applied version count as given. */
function givenAccess(row: Row): { access?: string } {
  const { mode: _, ...access } = permissionsOf(wantedOf(row));
  const hash = accessHash(access);
  return hash === undefined ? {} : { access: hash };
}

function wantedOf(row: Row): WantedEntry {
  const text = (bytes: string | undefined) => (bytes ? toText(bytes) : undefined);
  const [owner, grants, movedFrom, id] = [row.owner, row.grants, row.movedFrom, row.eventId].map(text);
  const timeMs = Date.parse(row.eventTime ?? "");
  const mtimeMs = Date.parse(row.mtime ?? "");
  return {
    ...{ isGone: false, sizeBytes: row.sizeBytes, mtimeMs: Number.isNaN(mtimeMs) ? 0 : mtimeMs },
    ...{ version: toText(row.version) ?? "", sha256: row.sha256, listing: 0 },
    ...(row.askedMode ? { mode: Number.parseInt(row.askedMode, 8) } : {}),
    ...(owner === undefined ? {} : { owner }),
    ...(grants === undefined ? {} : { grants }),
    ...(movedFrom === undefined ? {} : { movedFrom }),
    ...(id === undefined || Number.isNaN(timeMs) ? {} : { event: { id, timeMs } }),
  };
}
