import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What happens to a request instead of, or before, it is passed on. */
export type Fault = (request: IncomingMessage, response: ServerResponse, pass: () => void) => void;

/** Stands before a file manager, and does with its requests what a test wants. */
export class FaultyFileManager {
  /** Requests as they came: method and path. */
  readonly requests: string[] = [];
  /** Whether it closes every connection. */
  isDown = false;
  readonly #faults: { method: string; fault: Fault }[] = [];

  private constructor(
    readonly root: string,
    private readonly server: Server,
  ) {}

  /** @param behind `filemanager+http://…` of the file manager. */
  static async start(behind: string): Promise<FaultyFileManager> {
    const { port } = new URL(behind.slice("filemanager+".length));
    const server = createServer((incoming, response) => {
      faulty.requests.push(`${incoming.method} ${incoming.url}`);
      if (faulty.isDown) return void incoming.socket.destroy();
      const pass = () => forward(Number(port), incoming, response);
      const at = faulty.#faults.findIndex(({ method }) => method === incoming.method);
      const [next] = at < 0 ? [] : faulty.#faults.splice(at, 1);
      if (next) next.fault(incoming, response, pass);
      else pass();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const own = (server.address() as AddressInfo).port;
    const faulty: FaultyFileManager = new FaultyFileManager(behind.replace(port, String(own)), server);
    return faulty;
  }

  /** The next requests of a method meet these faults, one each. */
  next(method: string, ...faults: Fault[]): void {
    this.#faults.push(...faults.map((fault) => ({ method, fault })));
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

function forward(port: number, incoming: IncomingMessage, response: ServerResponse, change = same): void {
  const { method = "", url, headers } = incoming;
  const passed = request({ host: "127.0.0.1", port, method, path: url, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 500, answer.headers);
    if (response.destroyed) answer.resume();
    else answer.pipe(response);
  });
  passed.on("error", () => response.destroy());
  incoming.on("aborted", () => passed.destroy());
  incoming.on("data", (chunk: Buffer) => passed.write(change(chunk)));
  incoming.on("end", () => passed.end());
}

function same(chunk: Buffer): Buffer {
  return chunk;
}

/** Answers with a status at the end of the request. */
export function answer(status: number, headers: Record<string, string> = {}): Fault {
  return (incoming, response) => {
    incoming.resume().on("end", () => response.writeHead(status, headers).end());
  };
}

/** Is slow, and then does what it should. */
export function slow(ms: number): Fault {
  return (_incoming, _response, pass) => void setTimeout(pass, ms);
}

/** Closes the connection when the first bytes have come. */
export const drop: Fault = (incoming) => {
  incoming.once("data", () => incoming.socket.resetAndDestroy());
};

/** Stores other bytes than came, and tells of those. */
export function storesOther(behind: string): Fault {
  const port = Number(new URL(behind.slice("filemanager+".length)).port);
  return (incoming, response) => {
    delete incoming.headers["repr-digest"];
    forward(port, incoming, response, (chunk) => Buffer.from(chunk).fill("x"));
  };
}

/** Does what it should, and closes the connection before it says so. */
export const losesAnswer: Fault = (_incoming, response, pass) => {
  response.writeHead = () => response.destroy();
  pass();
};
