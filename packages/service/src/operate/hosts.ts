import { wakeHosts } from "@drover/producer/dispatch/wake-hosts";
import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import { type FleetState, fleetState } from "@drover/shared/protocol/fleet-state";
import {
  DEFAULT_LIMIT,
  type HostLimit,
  hostsNamed,
  setHostLimits,
} from "@drover/shared/protocol/host-limits";
import { closeBreaker, findHosts, type HostState, readHosts } from "@drover/shared/protocol/hosts";
import { aliveWorkers } from "@drover/shared/protocol/worker-registry";
import type { RunSpec } from "@drover/shared/run";
import { hostOf } from "@drover/shared/storage/registry";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { Problem } from "../http/problem.js";
import { type Route, route } from "../http/route.js";

const TAG = "Operation";
const count = z.int().min(0);
const rate = z.number().positive();

const limitSchema = z
  .strictObject({
    files: z.int().min(1).optional().meta({ description: "Files that are copied at once." }),
    requests_per_second: rate.optional(),
    bytes_per_second: rate.optional(),
  })
  .meta({ id: "HostLimit", description: "What the whole fleet asks of a host at most." });

const hostSchema = z
  .object({
    host: z.string().meta({ example: "example.com:443" }),
    breaker: z.object({
      state: z.enum(["open", "half-open", "closed"]),
      open_until: z.iso.datetime().nullable(),
      failures: count.meta({ description: "Failures in a row, while it is closed." }),
      opens: count.meta({ description: "How often it opened." }),
    }),
    limit: limitSchema
      .nullable()
      .meta({ description: "As somebody set it; null where it has none of its own." }),
    adapted: z
      .object({ files: count.optional(), requests_per_second: rate.optional() })
      .nullable()
      .meta({ description: "What is left of that since the host asked for less." }),
    not_before: z.iso.datetime().nullable().meta({ description: "It asked to be left alone until then." }),
    files_in_progress: count,
    waiting: z.object({ files: count, runs: count }).nullable().meta({
      description:
        "Files that wait for it, and runs that they are of, while its breaker is not closed: an estimate. Null where nobody counts them: without a leader, and beyond the first 100 such hosts.",
    }),
  })
  .meta({ id: "Host" });

const limitsSetSchema = z
  .object({ hosts: z.array(z.string()), limit: limitSchema.nullable() })
  .meta({ id: "HostLimits" });

const hostParam = z.object({
  host: z.string().min(1).max(300).meta({
    description: "`name:port`; a name alone means its ports 443 and 80. Limits of `*` are the default.",
    example: "example.com:443",
  }),
});

/** `/api/v1/hosts`: breakers and limits of the hosts that files come from. */
export function hostRoutes({ engine }: ServiceContext): Route[] {
  const { redis, keys } = engine;
  return [
    route({
      method: "get",
      path: "/api/v1/hosts",
      scope: "read",
      tag: TAG,
      summary: "Hosts: their circuit breakers, limits, and files in progress",
      query: z.object({
        limit: z.coerce.number().int().min(1).max(1_000).default(100),
        cursor: z.string().optional().meta({ description: "`next` of the page before." }),
        host: hostParam.shape.host
          .optional()
          .meta({ description: "Only this one: `name:port`, or a name alone." }),
      }),
      answers: {
        200: {
          description: "One page, by name.",
          schema: z
            .object({
              hosts: z.array(hostSchema),
              default_limit: limitSchema.nullable().meta({ description: "Of hosts without a limit." }),
              truncated: z.boolean().meta({ description: "Whether there may be hosts beyond these pages." }),
              next: z.string().nullable(),
            })
            .meta({ id: "HostPage" }),
        },
      },
      async handle({ query: { limit, cursor, host } }) {
        const [found, busy, leader] = await Promise.all([
          host === undefined ? findHosts(redis, keys) : { hosts: hostsOf(host), isTruncated: false },
          filesInProgress(engine),
          fleetState(redis, keys),
        ]);
        const names = [...new Set([...found.hosts, ...(host === undefined ? busy.keys() : [])])].sort();
        const rest = cursor === undefined ? names : names.filter((name) => name > cursor);
        const page = rest.slice(0, limit);
        const [usual, ...states] = await readHosts(redis, keys, [DEFAULT_LIMIT, ...page]);
        return {
          status: 200,
          body: {
            hosts: states.map((state) => ({
              ...showHost(state, busy.get(state.host) ?? 0),
              // The leader tells how it was up to a second ago.
              waiting: state.breaker === "closed" ? null : waitingFor(state.host, leader),
            })),
            default_limit: showLimit(usual?.limit ?? {}),
            truncated: found.isTruncated,
            next: rest.length > limit ? (page.at(-1) ?? null) : null,
          },
        };
      },
    }),
    route({
      method: "post",
      path: "/api/v1/hosts/{host}/breaker/close",
      scope: "operate",
      tag: TAG,
      summary: "Close the circuit breaker of a host",
      description:
        "Its failures are forgotten, and its files are tried at once. What files report that were begun before changes nothing. `closed` names the breakers that were not closed.",
      params: hostParam,
      answers: {
        200: {
          description: "It is closed.",
          schema: z
            .object({ closed: z.array(z.string()), files_woken: count })
            .meta({ id: "ClosedBreakers" }),
        },
      },
      async handle({ params }) {
        const hosts = hostsOf(params.host);
        if (hosts.includes(DEFAULT_LIMIT)) throw new Problem(422, "* is no host: name one");
        const closed: string[] = [];
        for (const host of hosts) if (await closeBreaker(redis, keys, host)) closed.push(host);
        const woken = closed.length === 0 ? 0 : await wakeHosts(engine, closed);
        return { status: 200, body: { closed, files_woken: woken }, changed: closed.length };
      },
    }),
    route({
      method: "put",
      path: "/api/v1/hosts/{host}/limit",
      scope: "operate",
      tag: TAG,
      summary: "Limit what the fleet asks of a host",
      description: "It takes the place of all limits that the host had.",
      params: hostParam,
      body: limitSchema,
      answers: { 200: { description: "The limit holds.", schema: limitsSetSchema } },
      async handle({ params, body }) {
        const hosts = hostsOf(params.host);
        if (Object.keys(body).length === 0)
          throw new Problem(
            422,
            "name files, requests_per_second or bytes_per_second: DELETE takes a limit away",
          );
        await setHostLimits(redis, keys, [{ hosts, limit: limitOf(body) }]);
        return { status: 200, body: { hosts, limit: body }, changed: hosts.length };
      },
    }),
    route({
      method: "delete",
      path: "/api/v1/hosts/{host}/limit",
      scope: "operate",
      tag: TAG,
      summary: "Take the limits of a host away",
      params: hostParam,
      answers: { 200: { description: "It has none of its own any more.", schema: limitsSetSchema } },
      async handle({ params }) {
        const hosts = hostsOf(params.host);
        await setHostLimits(redis, keys, [{ hosts, limit: {} }]);
        return { status: 200, body: { hosts, limit: null }, changed: hosts.length };
      },
    }),
  ];
}

/** @throws Problem for what is no host. */
function hostsOf(given: string): string[] {
  const hosts = hostsNamed(given);
  if (hosts === undefined) throw new Problem(422, `${given} is no host: write name, name:port or *`);
  return hosts;
}

function limitOf({ files, requests_per_second, bytes_per_second }: z.infer<typeof limitSchema>): HostLimit {
  return {
    ...(files === undefined ? {} : { files }),
    ...(requests_per_second === undefined ? {} : { requestsPerSecond: requests_per_second }),
    ...(bytes_per_second === undefined ? {} : { bytesPerSecond: bytes_per_second }),
  };
}

function showLimit({ files, requestsPerSecond, bytesPerSecond }: HostLimit) {
  const shown = {
    ...(files === undefined ? {} : { files }),
    ...(requestsPerSecond === undefined ? {} : { requests_per_second: requestsPerSecond }),
    ...(bytesPerSecond === undefined ? {} : { bytes_per_second: bytesPerSecond }),
  };
  return Object.keys(shown).length === 0 ? null : shown;
}

/** What waits for a host, as far as the leader tells. */
function waitingFor(name: string, leader: FleetState | undefined): z.infer<typeof hostSchema>["waiting"] {
  const told = leader?.hosts.find(({ host }) => host === name);
  return told === undefined ? null : { files: told.files, runs: told.runs };
}

function showHost(state: HostState, files: number): Omit<z.infer<typeof hostSchema>, "waiting"> {
  return {
    host: state.host,
    breaker: {
      state: state.breaker,
      open_until: timeOf(state.openUntilMs),
      failures: state.failures,
      opens: state.opens,
    },
    limit: showLimit(state.limit),
    adapted: showLimit(state.adapted),
    not_before: timeOf(state.notBeforeMs),
    files_in_progress: files,
  };
}

function timeOf(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}

/** How many files workers carry from each host, as they last reported. */
async function filesInProgress({ redis, keys, ledger }: Engine): Promise<Map<string, number>> {
  const carrying = (await aliveWorkers(redis, keys)).flatMap((worker) => worker.carrying);
  const specs = new Map<string, RunSpec | undefined>();
  const hosts = new Map<string, number>();
  for (const { run, source } of carrying) {
    if (!specs.has(run)) specs.set(run, await ledger.get(run).then(({ spec }) => spec, unknownRun));
    const host = hostOf(source, specs.get(run) ?? {});
    if (host !== "") hosts.set(host, (hosts.get(host) ?? 0) + 1);
  }
  return hosts;
}

function unknownRun(error: unknown): undefined {
  if (!(error instanceof SettingsError)) throw error;
}
