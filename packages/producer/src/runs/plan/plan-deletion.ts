import { SettingsError } from "@drover/shared/errors";
import { redactUrl } from "@drover/shared/redact";
import type { RunSpec } from "@drover/shared/run";
import { destinationOf, storageOf } from "@drover/shared/storage/registry";
import type { PlannedSource } from "../../expand/wildcards.js";
import type { RunRequest } from "./request.js";

/**
 * Checks the deletion settings of a request.
 *
 * @param sources of the request, of which it is known whether they are trees.
 * @param spec of the run, including its services, which decide whether two locations overlap.
 * @throws SettingsError if deletion could remove something that is not meant to be removed.
 */
export function planDeletion(
  request: RunRequest,
  sources: PlannedSource[],
  spec: Pick<RunSpec, "root" | "s3" | "s3Destination">,
): RunSpec["delete"] {
  const { delete: deletion } = request.destination;
  if (!deletion) return undefined;
  if (request.selection.list !== undefined || request.selection.listText !== undefined)
    throw new SettingsError("--delete needs whole trees: it cannot be used with --from-file");
  const chosen = sources.find(({ wildcards }) => wildcards);
  if (chosen)
    throw new SettingsError(
      `--delete needs whole prefixes, and ${chosen.wildcards?.exact.text} has wildcards: name ${chosen.text} and choose by --include`,
    );
  const file = sources.find(({ storage, text }) => !storage.isTree(text));
  if (file)
    throw new SettingsError(
      `--delete needs directories or S3 prefixes, which ${redactUrl(file.text)} is not`,
    );
  const { root } = spec;
  const storage = storageOf(root);
  const destination = destinationOf(root);
  const besides = sources.filter((each) => each.storage === storage && destination.isShared(spec));
  for (const { text } of besides)
    if (destination.contains(root, destination.parseRoot(text, request.directory)))
      throw new SettingsError(
        `--delete would remove the source ${redactUrl(text)}, which lies in the destination ${root}`,
      );
  if (storageOf(request.stateDir) === storage && destination.contains(root, request.stateDir))
    throw new SettingsError(
      `--delete would remove Drover's own state in ${request.stateDir}: choose another --state-dir`,
    );
  const { most, excluded, renames } = deletion;
  if (renames && request.destination.leave?.missing)
    throw new SettingsError("--existing brings no new name: leave it out, or --track-renames");
  if (renames && request.terms.ignoreTimes)
    throw new SettingsError("--ignore-times has every file read again: leave it out, or --track-renames");
  return { most, ...(excluded ? { excluded } : {}), ...(renames ? { renames } : {}) };
}
