import { errnoCode, TransferError } from "../../../errors.js";
import type { AwsIdentity } from "./sigv4.js";
import type { S3Spec } from "./spec.js";

/**
 * Finds the credentials that requests are signed with.
 *
 * @param refused credentials that the service did not accept: they are looked up anew, because they may have been
 *   replaced meanwhile.
 * @returns undefined if requests are not to be signed.
 * @throws TransferError of class `credentials` if there are none.
 */
export type CredentialsProvider = (refused?: AwsIdentity) => Promise<AwsIdentity | undefined>;

/** Refused credentials are looked up anew at most once in this time, for all requests together. */
const LOOK_AGAIN_MS = 30_000;

/**
 * The credentials for a service: those of {@link ofService} or {@link ofEnvironment}, else those of the default chain of
 * AWS (environment, shared files and profiles, SSO, processes, web identity, container and machine). The chain is loaded
 * with the first request; it renews credentials before they expire.
 */
export function credentialsOf(spec: S3Spec): CredentialsProvider {
  if (spec.anonymous) return async () => undefined;
  const given = ofService(spec) ?? ofEnvironment(spec);
  if (given) return async () => given;
  let chain: ReturnType<typeof load> | undefined;
  let renewal: Promise<AwsIdentity> | undefined;
  let renewed = { for: "", ms: Number.NEGATIVE_INFINITY };
  return async (refused) => {
    const nowMs = performance.now();
    const forceRefresh =
      refused !== undefined && (renewed.for !== textOf(refused) || nowMs - renewed.ms > LOOK_AGAIN_MS);
    if (forceRefresh) renewed = { for: textOf(refused), ms: nowMs };
    chain ??= load(spec);
    try {
      const provider = await chain;
      if (forceRefresh) renewal = provider({ forceRefresh });
      return await (refused ? renewal : provider());
    } catch (error) {
      // The messages of the chain can quote commands and what they print, so they are not repeated.
      const what = errnoCode(error) ?? (error as Error).name;
      const of = spec.profile === undefined ? "" : ` of profile ${spec.profile}`;
      throw new TransferError(
        "credentials",
        `no AWS credentials${of} (${what}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a profile with --s3-profile, or use --s3-anonymous`,
        { permanent: true },
      );
    }
  };
}

/** Beginnings of the variables that belong to one service alone. */
const OWN_VARIABLES = ["CUSTOMER_S3", "TARGET_S3"];

/**
 * The keys of one service alone: CUSTOMER_S3_ACCESS_KEY and CUSTOMER_S3_SECRET_KEY belong to CUSTOMER_S3_ENDPOINT, those of
 * TARGET_S3 to TARGET_S3_ENDPOINT, and they are used for no other. A profile that the person names takes precedence.
 */
function ofService({ endpoint, profile }: S3Spec): AwsIdentity | undefined {
  for (const name of OWN_VARIABLES) {
    const of = process.env[`${name}_ENDPOINT`];
    const accessKeyId = process.env[`${name}_ACCESS_KEY`];
    const secretAccessKey = process.env[`${name}_SECRET_KEY`];
    if (!of || !accessKeyId || !secretAccessKey || profile !== undefined) continue;
    if (URL.canParse(of) && new URL(of).href === new URL(endpoint).href)
      return { accessKeyId, secretAccessKey };
  }
  return undefined;
}

/**
 * The keys of the environment, if they do not expire. They are the first link of the default chain; reading them here
 * saves loading the chain, which takes as long as a hundred requests.
 */
function ofEnvironment({ profile }: S3Spec): AwsIdentity | undefined {
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
    AWS_CREDENTIAL_EXPIRATION: expires,
    AWS_PROFILE,
  } = process.env;
  if (!accessKeyId || !secretAccessKey || expires || (profile ?? AWS_PROFILE)) return undefined;
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}

function textOf({ accessKeyId, secretAccessKey, sessionToken }: AwsIdentity): string {
  return JSON.stringify([accessKeyId, secretAccessKey, sessionToken]);
}

/** Whether two sets of credentials are the same. */
export function isSameIdentity(one: AwsIdentity, other: AwsIdentity | undefined): boolean {
  return other !== undefined && textOf(one) === textOf(other);
}

async function load(spec: S3Spec) {
  const { defaultProvider } = await import("@aws-sdk/credential-provider-node");
  const { credentialRequests } = await import("./credential-requests.js");
  const quiet = () => {};
  return defaultProvider({
    ...(spec.profile === undefined ? {} : { profile: spec.profile }),
    ignoreCache: true, // the files may change while a worker runs
    clientConfig: { region: spec.region, requestHandler: credentialRequests as never },
    // Else it writes to the console if the environment has both a profile and keys.
    logger: { trace: quiet, debug: quiet, info: quiet, warn: quiet, error: quiet },
  });
}
