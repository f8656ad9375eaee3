import { dirname } from "node:path";
import type { PairRequest } from "@drover/producer/pair/pair-session";
import type { PlannedRun } from "@drover/producer/runs/plan/plan";
import { planS3Objects } from "@drover/producer/runs/plan/s3-objects";
import type { Engine } from "@drover/shared/engine";
import { allPairs, type PairRecord } from "@drover/shared/pair/store";
import type { RunSpec } from "@drover/shared/run";
import type { S3ObjectOptions } from "@drover/shared/storage/s3/object/object-options";
import type { ServiceConfig } from "../config.js";
import type { ServiceContext } from "../context.js";
import { Problem } from "../http/problem.js";
import { isBelowAny, objectsOf, planSubmission } from "../runs/submission.js";
import type { TermsBody } from "./pair-schema.js";

/** Another sync of the pair is waited for so long, in milliseconds. */
const WAIT_MS = 5_000;

/** A pair that a request is about. */
export interface AskedPair {
  local: string;
  remote: string;
  body: TermsBody;
  /** What is recorded of it, where its last terms stand for those that the body leaves out. */
  last?: PairRecord | undefined;
}

/** The pair whose run that is; undefined before its first sync. */
export async function pairOf(
  { redis, keys }: Engine,
  { root, sources }: RunSpec,
): Promise<PairRecord | undefined> {
  const remote = sources[0]?.replace(/\/$/, "");
  const pairs = await allPairs(redis, keys);
  return pairs.find((each) => each.local === root && each.remote === remote);
}

/** What a sync from the command line has asked for, and no request can take away. */
function kept({ sse, sseKmsKeyId, acl }: S3ObjectOptions = {}): S3ObjectOptions {
  return {
    ...(sse === undefined ? {} : { sse }),
    ...(sseKmsKeyId === undefined ? {} : { sseKmsKeyId }),
    ...(acl === undefined ? {} : { acl }),
  };
}

/**
 * Plans the run of a sync, within the server's roots.
 *
 * @throws SettingsError, Problem for what cannot be, or is outside of them.
 */
export async function planPairRun(
  { local, remote, body, last }: AskedPair,
  { config, engine }: Pick<ServiceContext, "config" | "engine">,
): Promise<PlannedRun> {
  const source = /^s3:/i.test(remote) && !remote.endsWith("/") ? `${remote}/` : remote;
  const { patterns, filters, label } = body;
  const planned = await planSubmission(
    {
      sources: [source],
      to: local,
      ...(patterns === undefined ? {} : { patterns }),
      ...(filters === undefined ? {} : { filters }),
      ...(label === undefined ? {} : { label }),
    },
    config,
  );
  for (const each of [remote, body.backup_dir, body.remote_backup_dir])
    if (each !== undefined && !isBelowAny(each.replace(/\/$/, ""), config.roots))
      throw new Problem(
        403,
        `${each} is not below ${config.roots.join(" or ")}: the server's --root says what is`,
      );
  const isPull = (body.direction ?? last?.terms?.direction) === "pull"; // which writes no object
  const recorded = last ?? (await pairOf(engine, planned.spec));
  const asked =
    body.s3 === undefined ? last?.s3Objects : planS3Objects(objectsOf(body), isPull ? local : remote);
  const s3Objects = { ...asked, ...kept(recorded?.s3Objects) };
  if (Object.keys(s3Objects).length === 0) return planned;
  return { ...planned, spec: { ...planned.spec, s3Objects } };
}

/** What a server says of each sync. Backups are beside the directories, where the workers that write to these may write too. */
export function ownTerms(
  { local, remote, body }: AskedPair,
  { stateDir }: ServiceConfig,
): Pick<PairRequest, "stateDir" | "waitMs" | "backupDirs"> {
  return {
    stateDir,
    waitMs: WAIT_MS,
    backupDirs: {
      local: body.backup_dir ?? backupBeside(local),
      ...(body.remote_backup_dir === undefined
        ? remote.startsWith("/") && { remote: backupBeside(remote) }
        : { remote: body.remote_backup_dir }),
    },
  };
}

function backupBeside(directory: string): string {
  return `${dirname(directory)}/.drover-backups`;
}
