// A small S3 service for the demo of mirrors, on this machine only: each directory below DIRECTORY is a bucket, each file in it
// an object. It lists (version 2) and gives objects, and checks no signature.
//
//     node s3.mjs READY DIRECTORY
//
// Once it serves, it writes its address to the file READY. It ends by itself when the process that started it is gone.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";

const [ready, directory] = process.argv.slice(2);
const etagOf = (content) => `"${createHash("md5").update(content).digest("hex")}"`;
const xml = (text) => text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);

function keysOf(bucket) {
  return readdirSync(`${directory}/${bucket}`, { recursive: true, withFileTypes: true })
    .filter((each) => each.isFile())
    .map((each) => `${each.parentPath}/${each.name}`.slice(`${directory}/${bucket}/`.length))
    .sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
}

function list(bucket, query) {
  const prefix = query.get("prefix") ?? "";
  const after = query.get("continuation-token") ?? query.get("start-after") ?? "";
  const most = Number(query.get("max-keys") ?? 1000);
  const keys = keysOf(bucket).filter((key) => key.startsWith(prefix) && key > after);
  const page = keys.slice(0, most);
  const isTruncated = page.length < keys.length;
  const objects = page.map((key) => {
    const path = `${directory}/${bucket}/${key}`;
    const content = readFileSync(path);
    return `<Contents><Key>${encodeURIComponent(key).replaceAll("%2F", "/")}</Key><LastModified>${statSync(path).mtime.toISOString()}</LastModified><ETag>${xml(etagOf(content))}</ETag><Size>${content.length}</Size></Contents>`;
  });
  const next = isTruncated ? `<NextContinuationToken>${xml(page.at(-1))}</NextContinuationToken>` : "";
  return `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>${bucket}</Name><Prefix>${xml(prefix)}</Prefix><EncodingType>url</EncodingType><KeyCount>${page.length}</KeyCount><IsTruncated>${isTruncated}</IsTruncated>${next}${objects.join("")}</ListBucketResult>`;
}

function fail(answer, status, code) {
  answer.writeHead(status, { "content-type": "application/xml" }).end(`<Error><Code>${code}</Code></Error>`);
}

function get(path, { method, headers }, answer) {
  if (!existsSync(path)) return fail(answer, 404, "NoSuchKey");
  const content = readFileSync(path);
  const etag = etagOf(content);
  answer.setHeader("etag", etag);
  answer.setHeader("last-modified", statSync(path).mtime.toUTCString());
  if (headers["if-none-match"] === etag) return answer.writeHead(304).end();
  if ((headers["if-match"] ?? etag) !== etag) return fail(answer, 412, "PreconditionFailed");
  answer.writeHead(200, { "content-length": content.length }).end(method === "HEAD" ? undefined : content);
}

const server = createServer((request, answer) => {
  const url = new URL(request.url, "http://localhost");
  const [, bucket, ...key] = url.pathname.split("/").map(decodeURIComponent);
  if (key.includes("..") || !/^[a-z0-9-]+$/.test(bucket) || !existsSync(`${directory}/${bucket}`))
    fail(answer, 404, "NoSuchBucket");
  else if (request.method !== "GET" && request.method !== "HEAD") fail(answer, 405, "MethodNotAllowed");
  else if (key.join("/") === "") answer.end(list(bucket, url.searchParams));
  else get(`${directory}/${bucket}/${key.join("/")}`, request, answer);
});
server.listen(0, "127.0.0.1", () => {
  writeFileSync(`${ready}.new`, `http://127.0.0.1:${server.address().port}\n`);
  renameSync(`${ready}.new`, ready);
});
const parent = process.ppid;
setInterval(() => process.ppid === parent || process.exit(), 500);
