import { Ajv2020 } from "ajv/dist/2020.js";
import addFormatsModule from "ajv-formats";
import { expect } from "vitest";
import type { DroverProcess, Result, Sandbox } from "./drover.js";
import { it as base } from "./s3-fixtures.js";

const addFormats = addFormatsModule as unknown as (ajv: Ajv2020) => void;

/** An answer of the service, which is as its document says. */
export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  /** Parsed where it is JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect of it
  readonly body: any;
  readonly text: string;
}

export interface AskOptions {
  readonly method?: string;
  readonly json?: unknown;
  readonly body?: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Document {
  paths: Record<
    string,
    Record<string, { responses: Record<string, { content?: Record<string, { schema?: object }> }> }>
  >;
  components: { schemas: Record<string, object> };
}

/** A `drover serve` of one test. Each of its answers is held against its own OpenAPI document. */
export class TestService {
  #document: Document | undefined;
  #ajv: Ajv2020 | undefined;

  constructor(
    readonly process: DroverProcess,
    readonly url: string,
  ) {}

  static async start(
    box: Sandbox,
    args: readonly string[],
    options: { cwd: string; env?: Readonly<Record<string, string | undefined>> },
  ): Promise<TestService> {
    const started = box.start(["serve", "--port", "0", ...args], { timeoutMs: 300_000, ...options });
    const [line] = await started.waitFor("stdout", /\{.*"service ready".*\}/);
    const { port } = JSON.parse(line) as { port: number };
    return new TestService(started, `http://127.0.0.1:${port}`);
  }

  /** Asks for a path. Fails where the answer is not as the document says. */
  async ask(path: string, options: AskOptions = {}): Promise<Answered> {
    const { json, headers = {} } = options;
    const method = options.method ?? (json === undefined && options.body === undefined ? "GET" : "POST");
    const response = await fetch(this.url + path, {
      method,
      headers: { ...(json === undefined ? {} : { "content-type": "application/json" }), ...headers },
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
      ...(options.body === undefined ? {} : { body: options.body }),
    });
    const text = await response.text();
    const type = response.headers.get("content-type") ?? "";
    const body = /json/.test(type) && !/ndjson/.test(type) ? JSON.parse(text) : undefined;
    await this.#check(method, path, { status: response.status, type, body });
    return { status: response.status, headers: response.headers, body, text };
  }

  async #check(
    method: string,
    path: string,
    { status, type, body }: { status: number; type: string; body: unknown },
  ) {
    this.#document ??= (await (await fetch(`${this.url}/openapi.json`)).json()) as Document;
    const { paths, components } = this.#document;
    const [pathname = ""] = path.split("?");
    const template = Object.keys(paths).find((each) => patternOf(each).test(pathname));
    const operation = template === undefined ? undefined : paths[template]?.[method.toLowerCase()];
    if (!operation) {
      expect(type, `${method} ${path}`).toBe("application/problem+json");
      expect([404, 405]).toContain(status);
      return;
    }
    const answer = operation.responses[status];
    expect(answer, `${method} ${path} answered ${status}, which its document does not know`).toBeDefined();
    const mediaType = type.split(";")[0] as string;
    const schema = answer?.content?.[mediaType]?.schema;
    if (answer?.content) expect(Object.keys(answer.content), `${method} ${path}`).toContain(mediaType);
    if (!schema || body === undefined) return;
    if (!this.#ajv) {
      this.#ajv = new Ajv2020({ strict: false });
      addFormats(this.#ajv);
      this.#ajv.addSchema({ $id: "document", components });
    }
    const rooted = JSON.parse(
      JSON.stringify(schema).replaceAll('"#/components', '"document#/components'),
    ) as object;
    const validate = this.#ajv.compile(rooted);
    expect(validate(body) ? [] : validate.errors, `${method} ${path}: ${JSON.stringify(body)}`).toEqual([]);
  }

  /** Starts a run and waits until it is over. */
  async runToEnd(request: object, headers: Readonly<Record<string, string>> = {}): Promise<Answered["body"]> {
    const accepted = await this.ask("/api/v1/runs", { json: request, headers });
    expect(accepted.status, accepted.text).toBe(202);
    const { body } = await this.ask(`${accepted.headers.get("location")}?wait=30`, { headers });
    return body;
  }

  /** Lines of its log with this message. */
  logged(message: string): Record<string, unknown>[] {
    return this.process.stdout
      .split("\n")
      .filter((line) => line.includes(JSON.stringify(message)))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<Result> {
    this.process.kill(signal);
    return await this.process.result;
  }
}

function patternOf(template: string): RegExp {
  const escaped = template
    .replace(/[.]/g, "\\.")
    .replace(/\{path\}/g, ".+")
    .replace(/\{\w+\}/g, "[^/]+");
  return new RegExp(`^${escaped}$`);
}

interface Fixtures {
  /** Starts services that end with the test, in the test's directory. */
  serve(args?: readonly string[], env?: Readonly<Record<string, string | undefined>>): Promise<TestService>;
}

export const it = base.extend<Fixtures>({
  serve: async ({ box, work }, use) => {
    const started: TestService[] = [];
    await use(async (args = [], env = {}) => {
      // A state directory of its own: what one service does is not to be found by the next.
      const service = await TestService.start(box, args, {
        cwd: work.path,
        env: { XDG_STATE_HOME: work.at("state"), ...env },
      });
      started.push(service);
      return service;
    });
    for (const service of started) service.process.kill("SIGKILL");
    await Promise.all(started.map(({ process }) => process.result.catch(() => {})));
  },
});
