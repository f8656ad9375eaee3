import { type Server, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { errnoCode } from "@drover/shared/errors";
import { Problem } from "./problem.js";

/** Answers what is no HTTP request, or one that Node refuses before anybody sees it, with a problem too. */
export function tellClientErrors(server: Server): void {
  server.on("clientError", (error: Error, socket: Socket) => {
    if (!socket.writable || errnoCode(error) === "ECONNRESET") {
      socket.destroy();
      return;
    }
    const problem = problemOf(errnoCode(error));
    const body = JSON.stringify(problem.toJSON());
    socket.end(
      `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\n` +
        `Content-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    );
  });
}

function problemOf(code: string | undefined): Problem {
  if (code === "HPE_HEADER_OVERFLOW") return new Problem(431, "the URL and the headers are too long");
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return new Problem(408, "the request did not arrive in time");
  return new Problem(400, "this is no HTTP request");
}
