import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { SettingsError } from "@drover/shared/errors";
import { awsEndpoint, isAws } from "@drover/shared/storage/s3/service/service";
import type { S3Spec } from "@drover/shared/storage/s3/service/spec";
import type { S3Settings } from "./request.js";

/**
 * How a run reaches the services of its s3:// sources and of its destination. Contains profile names, no
 * credentials.
 */
export interface S3Services {
  s3: S3Spec;
  /** Present if the destination has another service or other credentials. */
  s3Destination?: S3Spec;
}

/**
 * Completes the S3 settings of a request from the profiles of the AWS configuration files.
 *
 * @param writes whether the destination is in S3.
 * @throws SettingsError for an invalid region or profile, and for writing without a signature.
 */
export async function planS3Services(request: S3Settings, writes: boolean): Promise<S3Services> {
  if (request.anonymous && request.profile !== undefined && !request.ambientProfile)
    throw new SettingsError("--s3-anonymous and --s3-profile exclude each other: choose one");
  const s3 = await serviceOf(request);
  if (!writes) return { s3 };
  const { destination } = request;
  const { endpoint, region, profile } = destination ?? {};
  if (endpoint === undefined && region === undefined && profile === undefined) {
    if (s3.anonymous)
      throw new SettingsError("--s3-anonymous is for reading: name who writes with --s3-dest-profile");
    return { s3 };
  }
  // A separate profile brings its own endpoint; without one, the sources' settings apply.
  const configured = profile === undefined ? {} : await fromProfile(profile);
  const own = await serviceOf({
    ...request,
    endpoint: endpoint ?? (profile === undefined ? request.endpoint : configured.endpoint),
    region: region ?? configured.region ?? request.region,
    profile: profile ?? request.profile,
    pathStyle: endpoint === undefined && profile === undefined ? request.pathStyle : undefined,
    anonymous: false,
  });
  return { s3, s3Destination: own };
}

async function serviceOf(request: S3Settings): Promise<S3Spec> {
  const { profile, anonymous, requesterPays } = request;
  const configured = await fromProfile(profile);
  const ownEndpoint = request.endpoint ?? configured.endpoint;
  const region = request.region ?? configured.region ?? "us-east-1";
  if (!/^[a-z0-9-]{1,64}$/i.test(region))
    throw new SettingsError(`--s3-region must be a name such as eu-west-1, not ${JSON.stringify(region)}`);
  const another = ownEndpoint !== undefined && !isAws(ownEndpoint);
  const checksums = request.checksums ?? configured.checksums;
  return {
    endpoint: ownEndpoint ?? awsEndpoint(region),
    region,
    pathStyle: request.pathStyle ?? another,
    checksums: checksums === undefined ? !another : checksums === "when-supported",
    anonymous,
    requesterPays,
    ...(profile === undefined ? {} : { profile }),
  };
}

interface Configured {
  region?: string | undefined;
  endpoint?: string | undefined;
  checksums?: "when-supported" | "when-required" | undefined;
}

/**
 * Parses AWS's checksum setting, as spelled in its variable and files.
 *
 * @param where the value comes from, for the message.
 * @throws SettingsError for an unknown value.
 */
function checksumsOf(value: string | undefined, where: string): Configured["checksums"] {
  if (!value) return undefined;
  const mode = value.toLowerCase().replaceAll("_", "-");
  if (mode === "when-supported" || mode === "when-required") return mode;
  throw new SettingsError(`${where} must be WHEN_SUPPORTED or WHEN_REQUIRED, not ${JSON.stringify(value)}`);
}

/** Reads AWS's environment variable and a profile. The parser of the files is loaded only if there are any. */
async function fromProfile(named: string | undefined): Promise<Configured> {
  const config = process.env.AWS_CONFIG_FILE ?? join(homedir(), ".aws", "config");
  const keys = process.env.AWS_SHARED_CREDENTIALS_FILE ?? join(homedir(), ".aws", "credentials");
  const name = named ?? "default";
  const variable = "AWS_REQUEST_CHECKSUM_CALCULATION";
  const ofEnvironment = checksumsOf(process.env[variable], variable);
  if (!existsSync(config) && !existsSync(keys)) {
    if (named === undefined) return { checksums: ofEnvironment };
    throw new SettingsError(`no profile ${named}: neither ${config} nor ${keys} is there`);
  }
  const { loadSharedConfigFiles } = await import("@smithy/core/config");
  const files = await loadSharedConfigFiles();
  const profile = files.configFile[name];
  if (named !== undefined && !profile && !files.credentialsFile[name])
    throw new SettingsError(
      `no profile ${named} in ${config} or ${keys}: check --s3-profile and AWS_PROFILE`,
    );
  if (!profile) return { checksums: ofEnvironment };
  const services =
    profile.services === undefined ? undefined : files.configFile[`services.${profile.services}`];
  const ignored = /^true$/i.test(
    process.env.AWS_IGNORE_CONFIGURED_ENDPOINT_URLS ?? profile.ignore_configured_endpoint_urls ?? "",
  );
  const endpoint = ignored ? undefined : (services?.["s3.endpoint_url"] ?? profile.endpoint_url);
  if (endpoint !== undefined && !/^https?:\/\//.test(endpoint))
    throw new SettingsError(`endpoint_url of profile ${name} in ${config} must be an http(s) URL`);
  return {
    region: profile.region,
    endpoint: endpoint?.replace(/\/$/, ""),
    checksums:
      ofEnvironment ??
      checksumsOf(
        profile.request_checksum_calculation,
        `request_checksum_calculation of profile ${name} in ${config}`,
      ),
  };
}
