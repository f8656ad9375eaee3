import type { Sandbox } from "./drover.js";

/** What `drover runs --json` and `drover status RUN --json` tell of a run. */
export interface RunReport {
  readonly run: string;
  readonly state: "running" | "interrupted" | "done" | "cancelled";
  readonly files: number;
  readonly copied: number;
  readonly unchanged: number;
  readonly deleted: number;
  readonly failed: number;
  readonly blocked: number;
  readonly locked: number;
  readonly cancelled: number;
}

async function told(box: Sandbox, args: readonly string[]): Promise<unknown> {
  const { code, stdout, stderr } = await box.run(args);
  if (code !== 0) throw new Error(`drover ${args.join(" ")}: exit ${code}\n${stdout}${stderr}`);
  return JSON.parse(stdout);
}

export async function listRuns(box: Sandbox, args: readonly string[] = []): Promise<RunReport[]> {
  return (await told(box, ["runs", "--json", ...args])) as RunReport[];
}

export async function latestRun(box: Sandbox): Promise<RunReport> {
  const [run] = await listRuns(box);
  if (run === undefined) throw new Error("there is no run");
  return run;
}

/** The one run that there is. */
export async function onlyRun(box: Sandbox, args: readonly string[] = []): Promise<RunReport> {
  const runs = await listRuns(box, args);
  const [run] = runs;
  if (run === undefined || runs.length > 1)
    throw new Error(`expected one run, found ${JSON.stringify(runs)}`);
  return run;
}

export async function statusOf(box: Sandbox, run: string, args: readonly string[] = []): Promise<RunReport> {
  return (await told(box, ["status", run, "--json", ...args])) as RunReport;
}
