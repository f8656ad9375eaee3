import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { SettingsError } from "@drover/shared/errors";
import { awsEndpoint, type S3Spec } from "@drover/shared/storage/s3/spec";
import type { Resolved } from "./settings.js";

/**
 * How a run reaches S3: the settings, and what they leave open from the profile of the AWS configuration files. It
 * holds names only, no credentials.
 *
 * @throws SettingsError for settings that exclude each other, or a profile that is not there.
 */
export async function s3SpecOf({ values, origins }: Resolved): Promise<S3Spec> {
  const profile = values["s3-profile"];
  if (values["s3-anonymous"] && origins["s3-profile"] === "flag")
    throw new SettingsError("--s3-anonymous and --s3-profile exclude each other: choose one");
  const configured = await fromProfile(profile);
  const ownEndpoint = values["s3-endpoint"] ?? configured.endpoint;
  const region = values["s3-region"] ?? configured.region ?? "us-east-1";
  if (!/^[a-z0-9-]{1,64}$/i.test(region))
    throw new SettingsError(`--s3-region must be a name such as eu-west-1, not ${JSON.stringify(region)}`);
  const another = ownEndpoint !== undefined && !isAws(ownEndpoint);
  const checksums = values["s3-checksums"] ?? configured.checksums;
  return {
    endpoint: ownEndpoint ?? awsEndpoint(region),
    region,
    pathStyle: values["s3-path-style"] ?? another,
    checksums: checksums === undefined ? !another : checksums === "when-supported",
    anonymous: values["s3-anonymous"],
    requesterPays: values["s3-requester-pays"],
    ...(profile === undefined ? {} : { profile }),
  };
}

/**
 * How a run reaches the S3 service that it writes to, where its settings name another one than that of its sources.
 *
 * @param sources how it reaches these.
 * @throws SettingsError
 */
export async function s3DestinationOf(resolved: Resolved, sources: S3Spec): Promise<S3Spec | undefined> {
  const { values, origins } = resolved;
  const endpoint = values["s3-dest-endpoint"];
  const region = values["s3-dest-region"];
  const profile = values["s3-dest-profile"];
  if (endpoint === undefined && region === undefined && profile === undefined) {
    if (sources.anonymous)
      throw new SettingsError("--s3-anonymous is for reading: name who writes with --s3-dest-profile");
    return undefined;
  }
  // A profile of its own says where it is; without one it is what the sources' settings say.
  const configured = profile === undefined ? {} : await fromProfile(profile);
  return s3SpecOf({
    values: {
      ...values,
      "s3-endpoint": endpoint ?? (profile === undefined ? values["s3-endpoint"] : configured.endpoint),
      "s3-region": region ?? configured.region ?? values["s3-region"],
      "s3-profile": profile ?? values["s3-profile"],
      "s3-path-style": endpoint === undefined && profile === undefined ? values["s3-path-style"] : undefined,
      "s3-anonymous": false,
    },
    origins,
  });
}

function isAws(endpoint: string): boolean {
  return /\.amazonaws\.com(\.cn)?$/.test(new URL(endpoint).hostname);
}

interface Configured {
  region?: string | undefined;
  endpoint?: string | undefined;
  checksums?: "when-supported" | "when-required" | undefined;
}

/**
 * AWS's own setting, as its variable and its files have it.
 *
 * @param where it is written.
 */
function checksumsOf(value: string | undefined, where: string): Configured["checksums"] {
  if (!value) return undefined;
  const mode = value.toLowerCase().replaceAll("_", "-");
  if (mode === "when-supported" || mode === "when-required") return mode;
  throw new SettingsError(`${where} must be WHEN_SUPPORTED or WHEN_REQUIRED, not ${JSON.stringify(value)}`);
}

/** What AWS's variable and a profile say of a service. What reads the files is loaded only where there is one. */
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
