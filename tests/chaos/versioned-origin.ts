import * as does from "../harness/behaviours.js";
import { type Behaviour, FaultOrigin } from "../harness/fault-origin.js";
import { Gate } from "../harness/gate.js";
import { Rng } from "./rng.js";
import { VersionedFile } from "./versioned-content.js";

/**
 * `steady`: always there. `flaky`: fails now and then, never more than twice in a row. `missing`: 404, always.
 * `trap`: there, but its destination's directory is a link out of the root.
 */
export type FileKind = "steady" | "flaky" | "missing" | "trap";

export interface ChaosFile extends VersionedFile {
  readonly kind: FileKind;
}

/** One answer, or refusal of one. */
export interface Answered {
  readonly name: string;
  /** Counted from 1 per file. */
  readonly nth: number;
  readonly version: number;
  readonly how: "file" | "halting" | "503" | "reset" | "cut" | "404";
  readonly range: string | undefined;
  readonly condition: string | undefined;
}

export interface FilesPlan {
  readonly seed: number;
  readonly count: number;
  /** How many of them have 70 MiB or more. */
  readonly large: number;
}

/** Directory of the destinations that lead out of the root. */
export const TRAP = "trap";

/** The files of a seed. */
export function planFiles({ seed, count, large }: FilesPlan): ChaosFile[] {
  const rng = new Rng(seed, "files");
  return Array.from({ length: count }, (_, at) => {
    const draw = rng.fraction();
    const kind: FileKind =
      at < 2 ? "trap" : draw < 0.04 ? "missing" : draw < 0.16 && at >= 2 + large ? "flaky" : "steady";
    const directory = kind === "trap" ? TRAP : `d${rng.int(0, 9)}`;
    const bytes = at >= 2 && at < 2 + large ? rng.int(70, 90) << 20 : smallSize(rng);
    const file = new VersionedFile(seed, `${directory}/${String(at).padStart(5, "0")}.bin`, bytes);
    return Object.assign(file, { kind });
  });
}

function smallSize(rng: Rng): number {
  const draw = rng.fraction();
  if (draw < 0.05) return 0;
  if (draw < 0.65) return rng.int(16, 20_000);
  if (draw < 0.9) return rng.int(20_000, 300_000);
  if (draw < 0.98) return rng.int(300_000, 1_000_000);
  return rng.int(1_000_000, 4_000_000);
}

/** Serves the files of a seed, each in its latest version, with conditions and ranges; misbehaves by the seed. */
export class VersionedOrigin {
  readonly files: ReadonlyMap<string, ChaosFile>;
  readonly #versions = new Map<string, number>();
  readonly #asked = new Map<string, number>();
  #told: (answered: Answered) => void = () => {};

  private constructor(
    private readonly server: FaultOrigin,
    private readonly seed: number,
    /** Most time before an answer, drawn anew for each. */
    private readonly latencyMs: number,
    files: readonly ChaosFile[],
  ) {
    this.files = new Map(files.map((file) => [file.name, file]));
    server.route("/f/*", (exchange) => this.#answer(exchange));
  }

  static async start(seed: number, files: readonly ChaosFile[], latencyMs: number): Promise<VersionedOrigin> {
    return new VersionedOrigin(await FaultOrigin.start(), seed, latencyMs, files);
  }

  url(name: string): string {
    return this.server.url(`/f/${name}`);
  }

  /** Called for every answer. */
  onAnswer(told: (answered: Answered) => void): void {
    this.#told = told;
  }

  version(name: string): number {
    return this.#versions.get(name) ?? 1;
  }

  /** Replaces a file by its next version, whose number is returned. What is being sent stays as it is. */
  publish(name: string): number {
    const next = this.version(name) + 1;
    this.#versions.set(name, next);
    return next;
  }

  async stop(): Promise<void> {
    await this.server.stop();
  }

  readonly #answer: Behaviour = async (exchange) => {
    const name = (exchange.request.url ?? "").slice("/f/".length).split("?")[0] ?? "";
    const file = this.files.get(name);
    if (file === undefined) return does.status(404)(exchange);
    const nth = (this.#asked.get(name) ?? 0) + 1;
    this.#asked.set(name, nth);
    const rng = new Rng(this.seed, "answer", name, nth);
    const latencyMs = rng.int(0, this.latencyMs);
    const how = this.#how(file, nth, rng);
    await does.after(latencyMs, async (later) => {
      const version = this.version(name);
      const content = file.content(version);
      const { headers } = later.request;
      const condition = headers["if-none-match"] ?? headers["if-match"] ?? headers["if-range"];
      this.#told({ name, nth, version, how, range: headers.range, condition: condition?.toString() });
      const etag = file.etag(version);
      const options = { etag, lastModified: null };
      // A server of its time would not halt or cut what it need not send.
      const spared = headers["if-none-match"] === etag || headers.range !== undefined;
      if (how === "404") await does.status(404)(later);
      else if (how === "503") await does.status(503)(later);
      else if (how === "reset") await does.reset(later);
      else if (spared || how === "file") await does.file(content, options)(later);
      else if (how === "cut")
        await does.cutAt(content, rng.int(0, content.size - 1), "reset", options)(later);
      else {
        const gate = new Gate();
        setTimeout(() => gate.open(), rng.int(20, 600));
        await does.pausedAt(content, content.size >> 1, gate, options)(later);
      }
    })(exchange);
  };

  #how(file: ChaosFile, nth: number, rng: Rng): Answered["how"] {
    if (file.kind === "missing") return "404";
    const fails = (n: number) => new Rng(this.seed, "fails", file.name, n).chance(n === 1 ? 0.7 : 0.25);
    const thirdInARow = nth > 2 && fails(nth - 1) && fails(nth - 2);
    if (file.kind === "flaky" && fails(nth) && !thirdInARow) {
      const ways = file.aboutBytes === 0 ? (["503", "reset"] as const) : (["503", "reset", "cut"] as const);
      return rng.pick(ways);
    }
    return file.aboutBytes > 40_000 && rng.chance(0.2) ? "halting" : "file";
  }
}
