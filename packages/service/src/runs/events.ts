import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { summaryOf } from "@drover/producer/runs/summary";
import type { Engine } from "@drover/shared/engine";
import type { Outcome } from "@drover/shared/outcome";
import { gauge } from "@drover/shared/telemetry";
import type { Response } from "express";
import type { ServiceContext } from "../context.js";
import { ENTRY_ID } from "../http/entry-id.js";
import { Problem } from "../http/problem.js";
import { isOver, showOutcome, showRun } from "./shown.js";

/** Interval in milliseconds at which new outcomes are looked for, and at which the counts are told. */
const LOOK_MS = 250;
const PROGRESS_MS = 1_000;
/** A comment keeps proxies from thinking that the connection is dead, after this time in milliseconds. */
const HEARTBEAT_MS = 15_000;
const MOST_READ = 500;
/** Connections of one server. */
const MOST_CONNECTIONS = 500;

let connections = 0;
gauge("http.event_streams", () => connections);

/**
 * Streams what becomes of the files of a run, as server-sent events, until the run has ended, the client has gone, or the
 * server stops: another one goes on from the last id.
 *
 * @param from id of the event that the client had last, `start` for all that is kept, `now` for what comes.
 * @throws Problem 429 where too many follow.
 */
export async function streamEvents(
  { engine, stopping }: Pick<ServiceContext, "engine" | "stopping">,
  id: string,
  from: string,
  response: Response,
): Promise<void> {
  if (connections >= MOST_CONNECTIONS)
    throw new Problem(429, `${connections} clients follow runs here: try again later`, {
      headers: { "Retry-After": "10" },
    });
  connections++;
  try {
    response.writeHead(200, {
      "Content-Type": "text/event-stream",
      "Cache-Control": "no-store",
      "X-Accel-Buffering": "no",
    });
    response.flushHeaders();
    await new EventStream(engine, id, response, stopping).run(from);
  } finally {
    connections--;
    response.end();
  }
}

class EventStream {
  #lastId = "0-0";
  #toldMs = 0;
  #sentMs = Date.now();
  #counts = "";

  constructor(
    private readonly engine: Engine,
    private readonly id: string,
    private readonly response: Response,
    private readonly stopping: AbortSignal,
  ) {}

  async run(from: string): Promise<void> {
    await this.#begin(from);
    while (!this.response.destroyed && !this.stopping.aborted) {
      const summary = await summaryOf(this.engine, this.id); // before the files: what ended until then is read below
      const read = await this.#files();
      if (read === MOST_READ) continue;
      await this.#progress(JSON.stringify(showRun(summary)));
      if (isOver(summary.run)) {
        await this.#send("end", showRun(summary));
        return;
      }
      if (Date.now() - this.#sentMs > HEARTBEAT_MS) await this.#write(": still here\n\n");
      await sleep(LOOK_MS);
    }
  }

  /** Begins where the client wants to, or tells it that this place is not kept any more. */
  async #begin(from: string): Promise<void> {
    const { redis, keys } = this.engine;
    const stream = keys.outcomes(this.id);
    if (from === "now") {
      const [newest] = await redis.xrevrange(stream, "+", "-", "COUNT", 1);
      this.#lastId = newest?.[0] ?? this.#lastId;
      return;
    }
    if (from === "start") {
      const { counts } = await summaryOf(this.engine, this.id); // before the stream: what ends meanwhile is in that
      if ((await redis.xlen(stream)) >= counts.settled - counts.unchanged) return;
    } else if (ENTRY_ID.test(from)) {
      this.#lastId = from;
      if ((await redis.xrange(stream, from, from)).length === 1) return;
    }
    const [newest] = await redis.xrevrange(stream, "+", "-", "COUNT", 1);
    const summary = await summaryOf(this.engine, this.id);
    if (newest !== undefined) this.#lastId = newest[0];
    await this.#send("reset", showRun(summary), this.#lastId === "0-0" ? undefined : this.#lastId);
  }

  async #files(): Promise<number> {
    const { redis, keys } = this.engine;
    const entries = await redis.xrange(keys.outcomes(this.id), `(${this.#lastId}`, "+", "COUNT", MOST_READ);
    for (const [entryId, fields] of entries) {
      this.#lastId = entryId;
      const outcome = JSON.parse(fields[3] as string) as Outcome;
      if (outcome.outcome !== "unchanged") await this.#send("file", showOutcome(outcome), entryId);
    }
    return entries.length;
  }

  async #progress(counts: string): Promise<void> {
    if (counts === this.#counts || Date.now() < this.#toldMs + PROGRESS_MS) return;
    this.#counts = counts;
    this.#toldMs = Date.now();
    await this.#write(`event: progress\ndata: ${counts}\n\n`);
  }

  async #send(event: string, data: unknown, entryId?: string): Promise<void> {
    await this.#write(
      `event: ${event}\n${entryId === undefined ? "" : `id: ${entryId}\n`}data: ${JSON.stringify(data)}\n\n`,
    );
  }

  /** Waits where the client reads slowly: nothing is kept for it meanwhile. */
  async #write(text: string): Promise<void> {
    if (this.response.destroyed) return;
    this.#sentMs = Date.now();
    if (this.response.write(text)) return;
    await Promise.race([once(this.response, "drain"), once(this.response, "close")]);
  }
}
