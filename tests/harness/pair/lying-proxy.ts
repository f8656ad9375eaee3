import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Rng } from "../../chaos/rng.js";

/** A request as the proxy sees it. */
interface Asked {
  method: string;
  /** Path and query as they came over the wire. */
  target: string;
  headers: IncomingMessage["headers"];
  isListing: boolean;
  isObject: boolean;
}

interface Answer {
  status: number;
  headers: string[];
  body: Buffer;
}

const isWrite = ({ method }: Asked) => /^(PUT|POST|DELETE)$/.test(method);
const isConditional = ({ headers }: Asked) =>
  headers["if-match"] !== undefined || headers["if-none-match"] !== undefined;
const isRead = ({ method, isObject }: Asked) => method === "GET" && isObject;

/** What a service, or what is between it and its clients, may do wrong, with the requests that it may be done to. */
const LIES = {
  /** The connection breaks in the middle of the bytes. */
  cut: (asked: Asked) => isRead(asked),
  /** The bytes end early, and the length that is told is theirs. */
  short: (asked: Asked) => isRead(asked),
  /** A listing leaves out some keys. */
  hidden: (asked: Asked) => asked.isListing,
  /** A page says that it is the last one, and leaves out its own end. */
  ended: (asked: Asked) => asked.isListing,
  /** A page comes again, in the place of the next one, or within itself. */
  repeated: (asked: Asked) => asked.isListing,
  /** What is there is not there. */
  absent: (asked: Asked) => asked.isObject && /^(HEAD|GET)$/.test(asked.method),
  /** It is done, and the answer says that it failed. */
  lost: (asked: Asked) => isWrite(asked),
  /** It is done when whoever asked has given up. */
  late: (asked: Asked) => isWrite(asked),
  /** The connection is reset in the middle of what is sent. */
  reset: (asked: Asked) => isWrite(asked),
  /** It fails, and nothing is done. */
  failed: () => true,
  /** Another ETag than the object's. */
  etag: (asked: Asked) => asked.method !== "DELETE",
  /** A condition holds, and the answer says that it does not. */
  refused: (asked: Asked) => isWrite(asked) && isConditional(asked),
  /** A condition is passed over. */
  unconditional: (asked: Asked) => isWrite(asked) && isConditional(asked),
} as const;

export type Lie = keyof typeof LIES;
export const ALL_LIES = Object.keys(LIES) as Lie[];

/** An HTTP server in front of an S3 service that passes requests on, and lies about some of them. */
export class LyingProxy {
  /** Lies that may be told; none: it is honest. */
  lies: readonly Lie[] = [];
  /** How probable one is, of each request that it fits. */
  chance = 0;
  /** Lies that were told since this was emptied, with what was asked. */
  readonly told: string[] = [];
  /** What is done when whoever asked has given up. */
  readonly #late = new Set<Promise<unknown>>();
  readonly #sockets = new Set<Socket>();
  #lastPage: Answer | undefined;
  readonly #server = createServer((message, response) => {
    this.#answer(message, response).catch(() => response.destroy());
  });

  private constructor(
    private readonly endpoint: URL,
    private readonly rng: Rng,
  ) {
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {}).on("close", () => this.#sockets.delete(socket));
    });
  }

  static async start(endpoint: string, rng: Rng): Promise<LyingProxy> {
    const proxy = new LyingProxy(new URL(endpoint), rng);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Tells no lie any more. Resolves when everything that comes late was done. */
  async beHonest(): Promise<void> {
    this.lies = [];
    while (this.#late.size > 0) await Promise.allSettled([...this.#late]);
  }

  async stop(): Promise<void> {
    await this.beHonest();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #draw(asked: Asked): Lie | undefined {
    if (this.lies.length === 0 || !this.rng.chance(this.chance)) return undefined;
    const fitting = this.lies.filter((lie) => LIES[lie](asked));
    return fitting.length === 0 ? undefined : this.rng.pick(fitting);
  }

  async #answer(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = askedBy(message);
    const lie = this.#draw(asked);
    if (lie)
      this.told.push(`${lie}: ${asked.method} ${decodeURIComponent(asked.target.split("&")[0] ?? "")}`);
    if (lie === "reset") {
      // What is small has come as a whole: then it breaks before the answer.
      message.once("data", () => message.socket.resetAndDestroy());
      message.once("end", () => message.socket.resetAndDestroy());
      return;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of message) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    if (lie === "failed") return fail(response, this.rng.pick([500, 503]), "InternalError");
    if (lie === "refused") return fail(response, 412, "PreconditionFailed");
    if (lie === "absent") return fail(response, 404, "NoSuchKey");
    if (lie === "late") {
      const gone = new Promise<void>((resolve) => response.once("close", resolve));
      const late = gone.then(() => this.#pass(asked, body)).catch(() => {});
      this.#late.add(late);
      void late.then(() => this.#late.delete(late));
      return;
    }
    const headers = { ...asked.headers };
    if (lie === "unconditional") {
      delete headers["if-match"];
      delete headers["if-none-match"];
    }
    const answer = await this.#pass({ ...asked, headers }, body);
    if (lie === "lost") return fail(response, this.rng.pick([500, 503]), "InternalError");
    this.#send(response, asked, this.#twisted(answer, asked, lie), lie);
  }

  /** Asks the service. */
  #pass({ method, target, headers }: Asked, body: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const { hostname: host, port } = this.endpoint;
      const onward = request({ host, port, path: target, method, headers, agent: false }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.on("error", reject);
        answer.on("end", () =>
          resolve({
            status: answer.statusCode as number,
            headers: answer.rawHeaders,
            body: Buffer.concat(chunks),
          }),
        );
      });
      onward.on("error", reject);
      onward.end(body);
    });
  }

  #twisted(answer: Answer, asked: Asked, lie: Lie | undefined): Answer {
    const before = this.#lastPage;
    if (asked.isListing) this.#lastPage = answer;
    if (lie === undefined || answer.status >= 300) return answer;
    const text = answer.body.toString();
    switch (lie) {
      case "hidden":
        return withBody(
          answer,
          without(text, () => this.rng.chance(0.4)),
        );
      case "ended": {
        const keeps = this.rng.int(0, 3);
        const last = without(text, (at) => at >= keeps)
          .replace(/<IsTruncated>true/, "<IsTruncated>false")
          .replace(/<NextContinuationToken>.*?<\/NextContinuationToken>/, "");
        return withBody(answer, last);
      }
      case "repeated":
        if (before && asked.target.includes("continuation-token=")) return before;
        return withBody(answer, counted(text.replace(/<Contents>.*?<\/Contents>/s, "$&$&")));
      case "etag": {
        const other = (etag: string) => etag.replace(/[0-9a-f]/, (digit) => (digit === "0" ? "1" : "0"));
        const headers = answer.headers.map((each, at) =>
          at % 2 === 1 && /^etag$/i.test(answer.headers[at - 1] as string) ? other(each) : each,
        );
        // Of one object of a listing, or what a copy or an upload became.
        return withBody(
          { ...answer, headers },
          isRead(asked) ? answer.body : text.replace(/(?<=<ETag>(&quot;|")).*?(?=<)/, other),
        );
      }
      case "short":
        return withBody(answer, answer.body.subarray(0, answer.body.length >> 1));
      default:
        return answer;
    }
  }

  #send(
    response: ServerResponse,
    { method }: Asked,
    { status, headers, body }: Answer,
    lie: Lie | undefined,
  ) {
    response.sendDate = false;
    response.writeHead(status, headers);
    if (lie === "cut" && status < 300) {
      response.write(body.subarray(0, body.length >> 1), () => response.socket?.resetAndDestroy());
      return;
    }
    response.end(method === "HEAD" ? undefined : body);
  }
}

function askedBy({ method = "", url: target = "", headers }: IncomingMessage): Asked {
  const [path = "", query = ""] = target.split("?");
  const isObject = path.split("/").length > 2 && path.split("/")[2] !== "" && query === "";
  return { method, target, headers, isListing: method === "GET" && /(^|&)list-type=/.test(query), isObject };
}

function fail(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status).end(`<?xml version="1.0"?><Error><Code>${code}</Code></Error>`);
}

/** The answer with another body, whose length it tells. */
function withBody(answer: Answer, body: Buffer | string): Answer {
  const headers: string[] = [];
  for (let at = 0; at < answer.headers.length; at += 2)
    if (!/^(content-length|transfer-encoding)$/i.test(answer.headers[at] as string))
      headers.push(answer.headers[at] as string, answer.headers[at + 1] as string);
  const bytes = Buffer.from(body);
  return { ...answer, headers: [...headers, "content-length", String(bytes.length)], body: bytes };
}

/** A page without some of its objects. */
function without(page: string, leaves: (at: number) => boolean): string {
  let at = 0;
  return counted(page.replace(/<Contents>.*?<\/Contents>/gs, (object) => (leaves(at++) ? "" : object)));
}

/** A page that announces as many keys as it has. */
function counted(page: string): string {
  const found = page.match(/<(Contents|CommonPrefixes)>/g)?.length ?? 0;
  return page.replace(/<KeyCount>\d+</, `<KeyCount>${found}<`);
}
