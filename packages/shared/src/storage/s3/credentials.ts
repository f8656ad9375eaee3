import { errnoCode, TransferError } from "../../errors.js";
import type { AwsIdentity } from "./sigv4.js";
import type { S3Spec } from "./spec.js";

/** Gives what requests are signed with; undefined for requests that are not signed. */
export type Credentials = () => Promise<AwsIdentity | undefined>;

/**
 * The default chain of AWS: environment, shared files and profiles, SSO, processes, web identity, container and
 * machine. Nothing is loaded or asked before the first request; what expires is asked for anew in time.
 */
export function credentialsOf(spec: S3Spec): Credentials {
  if (spec.anonymous) return async () => undefined;
  let chain: Promise<Credentials> | undefined;
  return async () => {
    chain ??= load(spec);
    try {
      return await (await chain)();
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

async function load(spec: S3Spec): Promise<Credentials> {
  const { defaultProvider } = await import("@aws-sdk/credential-provider-node");
  const quiet = () => {};
  return defaultProvider({
    ...(spec.profile === undefined ? {} : { profile: spec.profile }),
    clientConfig: { region: spec.region },
    // Else it writes to the console where both a profile and keys are in the environment.
    logger: { trace: quiet, debug: quiet, info: quiet, warn: quiet, error: quiet },
  });
}
