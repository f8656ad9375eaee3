// A small web server for the demo, on this machine only. It plays three hosts: a working one, a slow one, and
// one that is down until the file REPAIRED exists. Contents are generated on request.
//
//     node origin.mjs READY REPAIRED
//
// Once it serves, it writes the file READY with lines "NAME VALUE": the address of each host and the SHA-256
// of each file. It ends by itself when the process that started it is gone.
import { createCipheriv, createHash } from "node:crypto";
import { existsSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const KB = 1000;
const MB = 1000 * KB;
const PIECE_BYTES = 64 * 1024;

const [ready, repairedFile] = process.argv.slice(2);
const repaired = () => existsSync(repairedFile);

// One mebibyte of pseudo-random bytes that are always the same; every file is made of it.
const noise = createCipheriv("aes-128-ctr", Buffer.alloc(16), Buffer.alloc(16)).update(Buffer.alloc(1 << 20));

// The hosts: their files with sizes in bytes, and bytes per second per response.
const hosts = {
  fast: {
    bytesPerSecond: 9 * MB,
    files: {
      "prices.csv": 4 * KB,
      "photo.jpg": 3 * MB,
      "hiccup.json": 200 * KB,
      "damaged.bin": 2 * MB,
      "big.iso": 96 * MB,
    },
  },
  slow: { bytesPerSecond: 150 * KB, files: { "slow.log": 600 * KB } },
  down: {
    bytesPerSecond: 9 * MB,
    files: { "north.json": 20 * KB, "south.json": 30 * KB, "east.json": 40 * KB },
  },
};

// The bytes of a file from a position on, at most one piece of them.
function bytesOf(name, at, end) {
  const from = (at + name.length * 4099 + name.charCodeAt(0)) % noise.length;
  return noise.subarray(from, from + Math.min(PIECE_BYTES, end - at, noise.length - from));
}

function sha256(name, sizeBytes) {
  const hash = createHash("sha256");
  for (let at = 0; at < sizeBytes; ) {
    const piece = bytesOf(name, at, sizeBytes);
    hash.update(piece);
    at += piece.length;
  }
  return hash.digest("hex");
}

async function send(response, name, from, end, bytesPerSecond, damage) {
  const startedMs = performance.now();
  for (let at = from; at < end && !response.destroyed; ) {
    const piece = damage ? Buffer.from(bytesOf(name, at, end)).fill(0, 0, 1) : bytesOf(name, at, end);
    response.write(piece);
    at += piece.length;
    const aheadMs = ((at - from) / bytesPerSecond) * 1000 - (performance.now() - startedMs);
    if (aheadMs > 5) await sleep(aheadMs);
  }
  response.end();
}

let hiccups = 1;

function answer(host, request, response) {
  const { files, bytesPerSecond } = hosts[host];
  const name = request.url.slice(1);
  const sizeBytes = files[name];
  if (sizeBytes === undefined) return response.writeHead(404).end();
  const busy = (host === "down" && !repaired()) || (name === "hiccup.json" && hiccups-- > 0);
  if (busy) return response.writeHead(503).end();

  const damage = name === "damaged.bin" && !repaired();
  const etag = `"${name}-${sizeBytes}${damage ? "-damaged" : ""}"`;
  const headers = { etag, "accept-ranges": "bytes", "last-modified": "Wed, 01 Jan 2025 00:00:00 GMT" };
  if (request.headers["if-none-match"] === etag) return response.writeHead(304, headers).end();
  const match = request.headers["if-match"];
  if (match !== undefined && match !== etag) return response.writeHead(412, headers).end();
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const condition = request.headers["if-range"];
  if (!range || (condition !== undefined && condition !== etag)) {
    response.writeHead(200, { ...headers, "content-length": sizeBytes });
    return send(response, name, 0, sizeBytes, bytesPerSecond, damage);
  }
  const from = Number(range[1]);
  const end = Math.min(range[2] === "" ? sizeBytes : Number(range[2]) + 1, sizeBytes);
  if (from >= end) return response.writeHead(416, { "content-range": `bytes */${sizeBytes}` }).end();
  const part = { "content-range": `bytes ${from}-${end - 1}/${sizeBytes}`, "content-length": end - from };
  response.writeHead(206, { ...headers, ...part });
  return send(response, name, from, end, bytesPerSecond, damage);
}

const lines = [];
for (const [host, { files }] of Object.entries(hosts)) {
  const server = createServer((request, response) => void answer(host, request, response));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  lines.push(`${host} http://127.0.0.1:${server.address().port}`);
  for (const [name, sizeBytes] of Object.entries(files)) lines.push(`${name} ${sha256(name, sizeBytes)}`);
}
writeFileSync(`${ready}.new`, `${lines.join("\n")}\n`);
renameSync(`${ready}.new`, ready);

const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent) process.exit();
}, 500);
