import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect } from "vitest";
import { until } from "../../harness/gate.js";
import { metricsOf } from "../../harness/metrics.js";
import { it } from "../../harness/service.js";

/** URLs, each of another host. */
const URLS = 2_000;
/** Runs beside the one that has these URLs. */
const RUNS = 50;
/** What Node tells of itself differs by what it has open, by kind. */
const OWN = /^drover_(nodejs|process)_/;
/** Some scripts run by the clock, and may have their turn at any time; there are as many as the code has. */
const SCRIPTS = /^drover_redis_(script_duration_seconds|requests_per_call)/;

/** A server that has every file, at every address of this machine. */
async function everywhere() {
  const server = createServer((request, response) => {
    if (request.url?.includes("missing")) response.writeHead(404).end();
    else response.end("x");
  });
  await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

describe("the series of metrics", () => {
  it("are as many after thousands of URLs, hosts and runs as before", async ({ serve, fleet, work }) => {
    const server = await everywhere();
    try {
      const worker = await fleet.worker("--health-port", "0", "--allow-address", "127.0.0.0/8");
      const health = await until(
        "the health port",
        () => /"health_port":(\d+)/.exec(worker.stderr)?.[1] ?? undefined,
      );
      const service = await serve([...fleet.own, "--root", work.out], { API_RATE_LIMIT: "0" });
      const urlOf = (at: number, file: string) =>
        `http://127.1.${at >> 8}.${at & 255}:${server.port}/${file}-${at}`;
      // Thousands of answers are not held against the document, and no connection is kept until its server closes it.
      const ask = async (path: string, json?: object) => {
        const response = await fetch(service.url + path, {
          headers: { connection: "close", "content-type": "application/json" },
          ...(json === undefined ? {} : { method: "POST", body: JSON.stringify(json) }),
        });
        return { status: response.status, text: await response.text() };
      };
      /** A run, and what is asked of it. */
      const play = async (urls: string[]) => {
        const { status, text } = await ask("/api/v1/runs", { sources: urls, to: work.out });
        expect(status, text).toBe(202);
        const { id } = JSON.parse(text) as { id: string };
        for (const path of ["?wait=30", "/files"]) await ask(`/api/v1/runs/${id}${path}`);
      };
      const seriesOf = async () => {
        const texts = await Promise.all(
          [`${service.url}/metrics`, `http://127.0.0.1:${health}/metrics`].map(async (url) =>
            (await fetch(url, { headers: { connection: "close" } })).text(),
          ),
        );
        return texts.map((text) => {
          const all = [...metricsOf(text).keys()];
          expect(all.filter((series) => OWN.test(series)).length).toBeLessThan(100);
          const scripts = all.map(
            (series) => /operation="([^"]*)"/.exec(SCRIPTS.test(series) ? series : "")?.[1],
          );
          const names = new Set(scripts.filter((name) => name !== undefined));
          expect([...names].filter((name) => !/^[a-z]+(-[a-z]+)*$/.test(name))).toEqual([]);
          expect(names.size).toBeLessThan(60);
          return all.filter((series) => !OWN.test(series) && !SCRIPTS.test(series)).sort();
        });
      };
      await play([urlOf(0, "file"), urlOf(1, "missing")]);
      await ask("/api/v1/runs/nonesuch");
      await seriesOf(); // its own request counts from the next one on
      const before = await until("what comes beside", async () => {
        const [api = [], carried = []] = await seriesOf();
        return api.includes("drover_catalog_files") && [api, carried];
      });
      const many = Array.from({ length: URLS }, (_, at) => urlOf(at + 2, at % 10 === 0 ? "missing" : "file"));
      const list = `${many.join("\n")}\n`;
      const big = await ask("/api/v1/runs", { list, to: work.out });
      expect(big.status, big.text).toBe(202);
      const { id } = JSON.parse(big.text) as { id: string };
      for (let from = 0; from < RUNS; from += 10)
        await Promise.all(Array.from({ length: 10 }, (_, at) => play([urlOf(10_000 + from + at, "file")])));
      const run = await until(
        "the end of the large run",
        async () => {
          const body = JSON.parse((await ask(`/api/v1/runs/${id}?wait=30`)).text);
          return body.state !== "running" && body;
        },
        300_000,
      );
      expect(run).toMatchObject({ files: URLS, copied: URLS * 0.9, failed: URLS * 0.1 });
      await Promise.all(Array.from({ length: 200 }, (_, at) => ask(`/api/v1/runs/no-such-run-${at}`)));
      const after = await seriesOf();
      expect(after).toEqual(before);
      expect(Math.max(...after.map(({ length }) => length))).toBeLessThan(2_000);
    } finally {
      server.close();
    }
  }, 480_000);
});
