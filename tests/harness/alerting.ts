import { generatedFiles } from "../../monitoring/src/files.ts";
import { until } from "./gate.js";
import { TestAlertmanager, TestPrometheus } from "./prometheus.js";
import { Receiver } from "./receiver.js";

const FILES = generatedFiles();
const textOf = (path: string) => FILES.get(path) as string;

/** Long enough that a busy machine answers within it. */
const INTERVAL = "2s";

/** An alert as a webhook tells it. */
export interface Told {
  receiver: string;
  status: "firing" | "resolved";
  labels: Record<string, string>;
  annotations: Record<string, string>;
}

/**
 * The alerting rules with seconds in place of what each has to last: the shortest 3 s, the next longer one 6 s, and so on. Which of
 * two alerts fires first stays as it is.
 */
export function shortened(rules: string): string {
  const unit: Record<string, number> = { s: 1, m: 60, h: 3_600, d: 86_400 };
  const seconds = (time: string) => Number.parseInt(time, 10) * (unit[time.at(-1) as string] as number);
  const times = [...new Set([...rules.matchAll(/ for: (\S+)/g)].map(([, time]) => time as string))];
  times.sort((a, b) => seconds(a) - seconds(b));
  return rules
    .replace(/ for: (\S+)/g, (_, time: string) => ` for: ${3 * times.indexOf(time) + 3}s`)
    .replace(/ keep_firing_for: \S+/g, " keep_firing_for: 5s");
}

/** A real Prometheus with the generated rules, a real Alertmanager with the generated configuration, and who is told: a webhook. */
export class TestAlerting {
  private constructor(
    readonly prometheus: TestPrometheus,
    readonly alertmanager: TestAlertmanager,
    private readonly receiver: Receiver,
  ) {}

  /**
   * @param jobs `host:port`s by the name of the job.
   * @param changed makes the alerting rules quicker than {@link shortened} does.
   */
  static async start(
    jobs: Readonly<Record<string, string[]>>,
    changed: (rules: string) => string = (rules) => rules,
  ): Promise<TestAlerting> {
    const receiver = await Receiver.start();
    // Alertmanager tells of an alert at once, whatever explains it, if it hears of it later than the time of the group.
    const config = textOf("alertmanager/alertmanager.yml")
      .replace(/url: \S+/g, `url: ${receiver.url}`)
      .replace(/group_wait: \S+/, "group_wait: 8s")
      .replace(/group_interval: \S+/, "group_interval: 1s");
    const alertmanager = await TestAlertmanager.start(config);
    const rules = [textOf("prometheus/rules.yml"), changed(shortened(textOf("prometheus/alerts.yml")))];
    const prometheus = await TestPrometheus.start(jobs, rules, alertmanager.url, INTERVAL);
    return new TestAlerting(prometheus, alertmanager, receiver);
  }

  /** All that came to the webhook, in its order; an alert comes again when its group changes. */
  told(): Told[] {
    return this.receiver.deliveries.flatMap(({ body }) =>
      (body.alerts as Omit<Told, "receiver">[]).map((alert) => ({ receiver: body.receiver, ...alert })),
    );
  }

  /** Waits until an alert has come to the webhook. */
  async hears(name: string, status: Told["status"], timeoutMs = 90_000): Promise<Told> {
    const isIt = (told: Told) => told.labels.alertname === name && told.status === status;
    return await until(`${name} to be told as ${status}`, () => this.told().find(isIt), timeoutMs);
  }

  /** Waits until all targets are asked with success, and no rule is about to fire. */
  async isQuiet(targets: number): Promise<void> {
    await until(
      "all to be asked",
      async () => (await this.prometheus.query("up == 1")).length === targets,
      60_000,
    );
    await until("no alert", async () => (await this.prometheus.alerts()).length === 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.prometheus.stop();
    await this.alertmanager.stop();
    await this.receiver[Symbol.asyncDispose]();
  }
}
