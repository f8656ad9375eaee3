import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { stringify } from "yaml";
import { until } from "./gate.js";

/** The first of these programs that is there; undefined where none is. */
function found(...programs: string[]): string | undefined {
  return programs.find((program) => {
    try {
      execFileSync(program, ["--version"], { stdio: "ignore" });
      return true;
    } catch {
      return false;
    }
  });
}

/** Programs of Debian's packages prometheus and prometheus-alertmanager. */
export const PROMETHEUS = found("prometheus");
export const PROMTOOL = found("promtool");
export const ALERTMANAGER = found("prometheus-alertmanager", "alertmanager");

/** What a program serves at a port of 127.0.0.1; it ends, and its files go, with {@link stop}. */
class Served {
  output = "";
  #ended: string | undefined;

  private constructor(
    private readonly child: ChildProcess,
    private readonly directory: string,
    readonly url: string,
  ) {
    const hear = (text: Buffer) => {
      this.output += text;
    };
    child.stdout?.on("data", hear);
    child.stderr?.on("data", hear);
    child.once("close", (code, signal) => {
      this.#ended = `exit ${code ?? signal}`;
    });
  }

  /** Starts it and waits until it is ready. */
  static async start(
    program: string,
    files: Readonly<Record<string, string>>,
    argumentsOf: (directory: string, address: string) => string[],
  ): Promise<Served> {
    const directory = mkdtempSync("/tmp/dvp-");
    mkdirSync(join(directory, "data"));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
    const address = `127.0.0.1:${await freePort()}`;
    const child = spawn(program, argumentsOf(directory, address), { cwd: directory });
    const served = new Served(child, directory, `http://${address}`);
    await until(`${program} to be ready`, async () => {
      if (served.#ended !== undefined) throw new Error(`${program}: ${served.#ended}\n${served.output}`);
      const response = await fetch(`${served.url}/-/ready`).catch(() => undefined);
      return response?.ok;
    });
    return served;
  }

  /** Writes a file into its directory. */
  write(name: string, text: string): void {
    writeFileSync(join(this.directory, name), text);
  }

  /** Makes it read its configuration again. */
  async reload(): Promise<void> {
    const response = await fetch(`${this.url}/-/reload`, { method: "POST" });
    if (!response.ok) throw new Error(`${await response.text()}\n${this.output}`);
  }

  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect of it
  async ask(path: string, parameters: Readonly<Record<string, string>> = {}): Promise<any> {
    const query = new URLSearchParams(parameters);
    const response = await fetch(`${this.url}${path}?${query}`);
    return await response.json();
  }

  async stop(): Promise<void> {
    if (this.#ended === undefined) {
      const closed = once(this.child, "close");
      this.child.kill("SIGKILL");
      await closed;
    }
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
}

/** A sample of a query's answer. */
export interface Sample {
  metric: Record<string, string>;
  value: [at: number, value: string];
}

/** A real Prometheus. */
export class TestPrometheus {
  private constructor(private readonly served: Served) {}

  /**
   * Loads the rules when all targets have been asked once: Prometheus takes seconds until it asks them, when all would be absent.
   *
   * @param jobs `host:port`s by the name of the job.
   * @param rules texts of rule files.
   * @param alertmanager its URL; undefined for none.
   * @param interval how often it asks and evaluates, and how long an answer may take.
   */
  static async start(
    jobs: Readonly<Record<string, string[]>>,
    rules: string[],
    alertmanager?: string,
    interval = "1s",
  ): Promise<TestPrometheus> {
    const config = {
      global: { scrape_interval: interval, scrape_timeout: interval, evaluation_interval: interval },
      rule_files: ["rules-*.yml"],
      ...(alertmanager && {
        alerting: { alertmanagers: [{ static_configs: [{ targets: [new URL(alertmanager).host] }] }] },
      }),
      scrape_configs: Object.entries(jobs).map(([job, targets]) => ({
        job_name: job,
        static_configs: [{ targets }],
      })),
    };
    const served = await Served.start(
      PROMETHEUS as string,
      { "prometheus.yml": stringify(config) },
      (directory, address) => [
        `--config.file=${join(directory, "prometheus.yml")}`,
        `--storage.tsdb.path=${join(directory, "data")}`,
        `--web.listen-address=${address}`,
        "--rules.alert.resend-delay=1s",
        "--web.enable-lifecycle",
        "--log.level=warn",
      ],
    );
    const prometheus = new TestPrometheus(served);
    const count = Object.values(jobs).flat().length;
    await until("all to be asked", async () => (await prometheus.query("up")).length === count);
    for (const [at, text] of rules.entries()) served.write(`rules-${at}.yml`, text);
    await served.reload();
    return prometheus;
  }

  /** @throws Error if the expression is none. */
  async query(expression: string): Promise<Sample[]> {
    const answer = await this.served.ask("/api/v1/query", { query: expression });
    if (answer.status !== "success") throw new Error(`${expression}: ${answer.error}`);
    return answer.data.result as Sample[];
  }

  /** Names of alerts that fire, or would if it lasts. */
  async alerts(): Promise<{ name: string; state: "pending" | "firing" }[]> {
    const { data } = await this.served.ask("/api/v1/alerts");
    const alerts = data.alerts as { labels: { alertname: string }; state: "pending" | "firing" }[];
    return alerts.map(({ labels, state }) => ({ name: labels.alertname, state }));
  }

  async stop(): Promise<void> {
    await this.served.stop();
  }
}

/** A real Alertmanager. */
export class TestAlertmanager {
  private constructor(private readonly served: Served) {}

  static async start(config: string): Promise<TestAlertmanager> {
    const served = await Served.start(
      ALERTMANAGER as string,
      { "alertmanager.yml": config },
      (directory, address) => [
        `--config.file=${join(directory, "alertmanager.yml")}`,
        `--storage.path=${join(directory, "data")}`,
        `--web.listen-address=${address}`,
        "--cluster.listen-address=",
      ],
    );
    return new TestAlertmanager(served);
  }

  get url(): string {
    return this.served.url;
  }

  /** The alerts that it has, and whether another one silences them. */
  async alerts(): Promise<{ name: string; silenced: boolean }[]> {
    const alerts = (await this.served.ask("/api/v2/alerts")) as {
      labels: { alertname: string };
      status: { inhibitedBy: string[] };
    }[];
    return alerts.map(({ labels, status }) => ({
      name: labels.alertname,
      silenced: status.inhibitedBy.length > 0,
    }));
  }

  async stop(): Promise<void> {
    await this.served.stop();
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}
