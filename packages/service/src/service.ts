import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { wantedBy } from "@drover/producer/expand/wanted";
import { planServices } from "@drover/producer/runs/plan/services";
import type { Engine } from "@drover/shared/engine";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import type { MetricsExporter } from "@drover/shared/metrics/exporter";
import type { AddressGuard } from "@drover/shared/storage/http/guard";
import { S3Browser } from "@drover/shared/storage/s3/listing/browse";
import { Queue } from "bullmq";
import type { RequestHandler } from "express";
import type { Logger } from "pino";
import { downloadRoute, filesRoute } from "./bucket/files.js";
import { openRoutes, statusRoutes } from "./bucket/status.js";
import { triggerRoute, typeFilters } from "./bucket/sync.js";
import type { ServiceConfig } from "./config.js";
import { DurableWrites } from "./durable-writes.js";
import { createApp } from "./http/app.js";
import { Availability } from "./http/availability.js";
import { tellClientErrors } from "./http/client-errors.js";
import { openApiOf } from "./http/document.js";
import { type CallApi, callerOfRoutes } from "./http/in-process.js";
import { documentRoutes } from "./http/pages.js";
import type { Route } from "./http/route.js";
import { EventDispatcher } from "./intake/dispatcher.js";
import { eventRoutes } from "./intake/event-routes.js";
import { notificationRoutes } from "./intake/notification-routes.js";
import { EventQueue } from "./intake/queue.js";
import { Reception } from "./intake/reception.js";
import { SnsEndpoint } from "./intake/sns-endpoint.js";
import { mirrorRoutes } from "./mirror/routes.js";
import { auditRoutes } from "./operate/audit.js";
import { FleetMetrics, metricsRoute } from "./operate/metrics.js";
import { operateRoutes } from "./operate/routes.js";
import { programRoutes } from "./pairs/program-routes.js";
import { pairRoutes } from "./pairs/routes.js";
import { RunKeeper } from "./runs/keeper.js";
import { runRoutes } from "./runs/routes.js";
import { DispatchWindow } from "./schedule/dispatch-window.js";
import { PeriodicSync } from "./schedule/periodic.js";
import { Access } from "./security/access.js";
import { AuditLog } from "./security/audit.js";
import { RateLimits } from "./security/rate.js";
import { SessionStore } from "./security/sessions.js";
import { TokenStore } from "./security/tokens.js";
import type { TrustedProxy } from "./security/trusted-proxy.js";
import { WebhookWatch } from "./webhooks/watch.js";

/** A request must have arrived within this time, in milliseconds; its headers within a part of it. */
const RECEIVE_MS = 60_000;
const HEADERS_MS = 15_000;
/** Largest URL and headers together, in bytes. */
const MOST_HEADER_BYTES = 32 << 10;

export interface ServiceOptions {
  engine: Engine;
  config: ServiceConfig;
  host: string;
  /** 0 for any. */
  port: number;
  log: Logger;
  /** The token of the environment; undefined for none. */
  environmentToken: string | undefined;
  insecure: boolean;
  hasSeenToken: boolean;
  noteTokenSeen(): void;
  corsOrigins: string[];
  /** Decides where Amazon SNS may be asked for certificates. */
  guard: AddressGuard;
  /** Tells the telemetry of this process. */
  metrics: MetricsExporter;
  /** Directory with the scripts of the documentation's pages. */
  assets: string;
  /** Has users log in, and names them; undefined for none. */
  proxy: TrustedProxy | undefined;
  /** Makes what answers beside the routes, such as pages; undefined for nothing. */
  mount: ((parts: ServiceParts) => Mounted) | undefined;
}

/** What is mounted beside the routes can work with this. */
export interface ServiceParts {
  engine: Engine;
  access: Access;
  /** Calls the routes without HTTP. */
  callApi: CallApi;
  availability: Availability;
  /** Limit of each caller; undefined for none. */
  rates: RateLimits | undefined;
  log: Logger;
}

/** What answers beside the routes. It sees every request before they do. */
export interface Mounted {
  handler: RequestHandler;
  /** Gives back what it holds. */
  close(): Promise<void>;
}

/** A server that runs. */
export interface RunningService {
  readonly port: number;
  /**
   * Stops in an orderly way: no more requests are taken, those on their way end.
   *
   * @param deadlineMs time for that.
   */
  stop(deadlineMs: number): Promise<void>;
}

/**
 * Starts the HTTP service.
 *
 * @throws SettingsError if the port is taken, or the service would be open to other machines without a token.
 */
export async function startService(options: ServiceOptions): Promise<RunningService> {
  const { engine, config, log, host } = options;
  const { redis, keys } = engine;
  const [tokens, sessions] = [new TokenStore(redis, keys), new SessionStore(redis, keys)];
  const access = new Access({ ...options, tokens, sessions });
  if (!isLoopbackHost(host) && !options.insecure && !(await access.needsToken()))
    throw new SettingsError(
      `there is no token, and ${host} can be reached from other machines: make one (drover token create), set API_TOKEN, listen on 127.0.0.1 (--host), or say --insecure`,
    );
  const services = await planServices({ s3: config.s3 }, { read: [`s3://${config.bucket ?? "none"}/`] });
  if (services.s3 === undefined) throw new Error("no S3 service was planned");
  const browser = new S3Browser(services.s3);
  const availability = new Availability(redis, (message) => log.warn(message));
  const durable = await DurableWrites.open(engine);
  const { stateDir, keepRuns } = config;
  const keeper = new RunKeeper({ engine, durable, stateDir, keepRuns, log });
  const stop = new AbortController();
  const { guard } = options;
  const context = { engine, config, keeper, guard, log, stopping: stop.signal };
  const audit = new AuditLog(redis, keys);
  const queue = new EventQueue(engine, durable);
  const sns = new SnsEndpoint(guard);
  const reception = new Reception({
    queue,
    settings: config.events,
    wanted: wantedBy({ patterns: ["*"], filters: typeFilters(config), patternSyntax: "rclone" }),
    get: (url) => sns.get(url),
    log,
  });
  const dispatcher = new EventDispatcher(context, queue);
  const fleetQueue = new Queue(keys.fleetQueue(), { connection: redis, prefix: keys.queuePrefix() });
  fleetQueue.on("error", () => {}); // availability tells that Redis is away
  const pairs = pairRoutes(context);
  let document: unknown;
  const routes: Route[] = [
    ...openRoutes(
      () => !stop.signal.aborted && availability.isThere,
      () => endpointsOf(routes),
    ),
    ...statusRoutes(context, browser),
    triggerRoute(context),
    filesRoute(config, browser),
    downloadRoute(config),
    ...runRoutes(context),
    ...operateRoutes(context, fleetQueue),
    metricsRoute(options.metrics),
    ...auditRoutes(audit),
    ...notificationRoutes(config, reception),
    ...eventRoutes(queue, reception),
    ...mirrorRoutes(engine, durable, config.mirrors),
    ...pairs.routes,
    ...programRoutes(context, pairs.syncs),
    ...documentRoutes(() => {
      document ??= openApiOf(routes);
      return document;
    }, options.assets),
  ];
  const { requestsPerSecond } = config;
  const rates = requestsPerSecond === 0 ? undefined : new RateLimits(redis, keys, requestsPerSecond);
  const { corsOrigins } = options;
  const callApi = callerOfRoutes(routes, { availability, audit, log });
  const mounted = options.mount?.({ engine, access, callApi, availability, rates, log });
  const before = mounted?.handler;
  const app = createApp({ routes, access, rates, availability, audit, log, corsOrigins, before });
  const server = createServer(
    {
      requestTimeout: RECEIVE_MS,
      headersTimeout: HEADERS_MS,
      maxHeaderSize: MOST_HEADER_BYTES,
      requireHostHeader: false, // the application does, and answers with a problem
    },
    app,
  );
  server.on("checkExpectation", app); // what is expected beside 100-continue may be passed over
  tellClientErrors(server);
  try {
    await listen(server, host, options.port);
  } catch (error) {
    availability.close();
    durable.close();
    await Promise.all([browser.close(), sns.close(), fleetQueue.close(), mounted?.close()]);
    throw error;
  }
  keeper.start();
  dispatcher.start();
  const periodic = await PeriodicSync.start(context);
  new FleetMetrics(options.metrics, context, { queue: fleetQueue, events: queue, periodic });
  const window = new DispatchWindow({ redis, keys, window: config.window, log });
  window.start();
  const webhooks = new WebhookWatch(context);
  return {
    port: (server.address() as AddressInfo).port,
    async stop(deadlineMs) {
      stop.abort();
      window.stop();
      server.close();
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), deadlineMs);
      await Promise.all([once(server, "close"), dispatcher.stop(), periodic.stop(), webhooks.stop()]);
      await Promise.all([keeper.stop(), pairs.syncs.stop()]);
      clearTimeout(timer);
      availability.close();
      durable.close();
      await Promise.all([browser.close(), sns.close(), fleetQueue.close(), mounted?.close()]);
    },
  };
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  server.listen(port, host);
  try {
    await once(server, "listening");
  } catch (error) {
    throw new SettingsError(
      `cannot listen on ${host}:${port} (${errnoCode(error)}): choose another --port or --host`,
    );
  }
}

function isLoopbackHost(host: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|::1)$/i.test(host);
}

function endpointsOf(routes: Route[]): Record<string, string> {
  return Object.fromEntries(
    routes
      .filter(({ path }) => !path.includes("assets"))
      .map(({ method, path, summary }) => [`${method.toUpperCase()} ${path.replace("*", "")}`, summary]),
  );
}
