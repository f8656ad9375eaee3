import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { TokenStore } from "@drover/service/security/tokens";
import { TrustedProxy } from "@drover/service/security/trusted-proxy";
import { startService } from "@drover/service/service";
import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import { makeDirectory } from "@drover/shared/make-directory";
import { MetricsExporter } from "@drover/shared/metrics/exporter";
import { AddressGuard } from "@drover/shared/storage/http/guard";
import {
  type ServiceFlags,
  type ServiceSettings,
  serviceSettingsOf,
} from "../../settings/service-settings.js";
import type { Resolved } from "../../settings/settings.js";
import { withEngine } from "../engine.js";
import { serviceConfigOf } from "./service-config.js";
import { serviceLogger } from "./service-log.js";
import { startOwnWorker, untilSignal } from "./serving.js";

export interface ServeFlags extends ServiceFlags {
  root?: string[];
  allowAddress?: string[];
  insecure?: boolean;
  dashboard?: boolean;
  boardWrites?: boolean;
  trustedProxy?: string[];
  proxyUserHeader?: string;
  proxyScope?: string[];
  /** Whether it leaves the files to others, whatever Redis it has. Default false. */
  carriesNothing?: boolean;
}

/** `drover serve`: answers HTTP requests until a signal. Without a fleet's Redis it carries the files itself. */
export async function serve(flags: ServeFlags, resolved: Resolved): Promise<number> {
  const settings = serviceSettingsOf(flags, resolved);
  const { values } = resolved;
  const config = serviceConfigOf(flags.root ?? [], settings, resolved);
  const guard = new AddressGuard(flags.allowAddress);
  const assets = fileURLToPath(new URL("./assets", import.meta.url));
  const pages = await pagesOf(flags, assets);
  const log = serviceLogger(settings);
  const metrics = new MetricsExporter();
  return await withEngine(values, async (engine) => {
    const service = await startService({
      engine,
      ...(await addressOf(engine, settings, values["state-dir"] as string)),
      log,
      environmentToken: settings.apiToken,
      guard,
      metrics,
      insecure: flags.insecure ?? false,
      corsOrigins: settings.corsOrigins,
      assets,
      ...pages,
      config,
      ...markerIn(values["state-dir"] as string),
    });
    const may = { roots: config.roots, allowAddresses: flags.allowAddress ?? [], metrics };
    const worker = flags.carriesNothing ? undefined : await startOwnWorker(engine, may, resolved, log);
    const concurrency = worker === undefined ? 0 : values.concurrency;
    log.info({ port: service.port, concurrency, roots: config.roots }, "service ready");
    const deadlineMs = values["drain-deadline"] * 1000;
    const stop = async () => {
      await Promise.all([service.stop(deadlineMs), worker?.drain(deadlineMs)]);
    };
    const nothing = () => {}; // the service says it
    return await untilSignal(
      { engine, stop, deadlineMs, availability: { away: nothing, back: nothing } },
      log,
    );
  });
}

/**
 * The dashboard, where it is wanted, and who logs in its users.
 *
 * @throws SettingsError for a setting of the dashboard without one.
 */
async function pagesOf(
  flags: ServeFlags,
  assets: string,
): Promise<Pick<Parameters<typeof startService>[0], "mount" | "proxy">> {
  const { dashboard = false, boardWrites = false, trustedProxy: addresses = [], proxyUserHeader } = flags;
  const scopes = flags.proxyScope ?? [];
  if (!dashboard && (boardWrites || addresses.length > 0))
    throw new SettingsError("--board-writes and --trusted-proxy are of the dashboard: add --dashboard");
  if (addresses.length === 0 && (proxyUserHeader !== undefined || scopes.length > 0))
    throw new SettingsError(
      "--proxy-user-header and --proxy-scope are of a proxy: name its address (--trusted-proxy)",
    );
  if (!dashboard) return { mount: undefined, proxy: undefined };
  const { mountDashboard } = await import("@drover/dashboard/dashboard");
  const userHeader = proxyUserHeader ?? "X-Forwarded-User";
  return {
    mount: (parts) => mountDashboard(parts, { assets, boardWrites }),
    proxy: addresses.length === 0 ? undefined : new TrustedProxy({ addresses, userHeader, scopes }),
  };
}

/** With tokens the service is for other machines too. */
async function addressOf(
  { redis, keys }: Engine,
  { host, port, apiToken }: ServiceSettings,
  stateDir: string,
): Promise<{ host: string; port: number }> {
  if (host !== undefined) return { host, port };
  const isKnown = apiToken !== undefined || existsSync(marker(stateDir));
  const hasToken = isKnown || (await new TokenStore(redis, keys).exist());
  return { host: hasToken ? "0.0.0.0" : "127.0.0.1", port };
}

function marker(stateDir: string): string {
  return join(stateDir, "service-needs-token");
}

/** Remembers beyond Redis that the service has been opened with tokens: it never answers without one again. */
function markerIn(stateDir: string) {
  const path = marker(stateDir);
  return {
    hasSeenToken: existsSync(path),
    noteTokenSeen() {
      if (existsSync(path)) return;
      makeDirectory(stateDir, 0o700);
      writeFileSync(
        path,
        "Without this file, drover serve would answer this machine without a token again.\n",
      );
    },
  };
}
