// A slow origin: answers every request after a delay, which nginx cannot do by itself.
// node origin.mjs DIR DELAY_MS serves the files of DIR from memory, on a free port of 127.0.0.1, which is printed.
// A request for /held/… is never answered.
//
// It implements only the HTTP that the clients here need, on bare sockets: a request costs a third of what
// Node's server needs, so that one process is far from being the bottleneck.
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";

const [dir, delay] = process.argv.slice(2);
const delayMs = Number(delay);
const DATE = "Wed, 01 Jan 2025 00:00:00 GMT";
const MISSING = Buffer.from("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");

const files = new Map();
for (const [at, name] of readdirSync(dir).entries()) {
  const body = readFileSync(join(dir, name));
  const head = Buffer.from(
    `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nContent-Type: application/octet-stream\r\n` +
      `Last-Modified: ${DATE}\r\nETag: "${at}-${body.length}"\r\n\r\n`,
  );
  files.set(name, { head, whole: Buffer.concat([head, body]) });
}

/** One response after the delay; no client here sends its next request before it. */
function answer(socket, request) {
  const [method, path] = request.split(" ", 2);
  if (path.startsWith("/held/")) return;
  const file = files.get(path.slice(path.lastIndexOf("/") + 1));
  const bytes = file ? (method === "HEAD" ? file.head : file.whole) : MISSING;
  if (delayMs === 0) socket.write(bytes);
  else setTimeout(() => socket.writable && socket.write(bytes), delayMs);
}

const server = createServer({ noDelay: true }, (socket) => {
  let waiting = "";
  socket.setEncoding("latin1");
  socket.on("error", () => {}); // A killed client
  socket.on("data", (text) => {
    waiting += text;
    for (let end = waiting.indexOf("\r\n\r\n"); end >= 0; end = waiting.indexOf("\r\n\r\n")) {
      answer(socket, waiting.slice(0, waiting.indexOf("\r\n")));
      waiting = waiting.slice(end + 4);
    }
  });
});
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () =>
  process.stdout.write(`${server.address().port}\n`),
);
