// An S3 endpoint with slow pages and any number of keys, which are computed, not stored.
// Arguments: shape (flat | deep | dates | hashes), keys, milliseconds per page. Prints its URL; GET /stats returns
// the number of requests.
import { createServer } from "node:http";

const [shape = "flat", keys = "1000000", delay = "30"] = process.argv.slice(2);
const count = Number(keys);
const delayMs = Number(delay);
const PAGE = 1000;
const pad = (n, width) => String(n).padStart(width, "0");

let named = { hour: -1, text: "" };
function hourOf(hour) {
  if (named.hour === hour) return named.text; // pages should cost next to nothing
  const at = new Date(Date.UTC(2000, 0, 1) + hour * 3_600_000).toISOString();
  named = { hour, text: `data/${at.slice(0, 4)}/${at.slice(5, 7)}/${at.slice(8, 10)}/${at.slice(11, 13)}` };
  return named.text;
}

/** The i-th key in order. */
const SHAPES = {
  flat: (i) => `data/${pad(i, 7)}.csv`,
  deep: (i) => {
    const digits = pad(i, 7);
    return `data/${digits.slice(0, 2)}/${digits.slice(2, 4)}/${digits.slice(4, 5)}/file-${digits}.csv`;
  },
  // Few files in each of many directories named by hour.
  dates: (i) => `${hourOf(Math.floor(i / 20))}/part-${pad(i % 20, 2)}.parquet`,
  // Evenly distributed, without directories.
  hashes: (i) => `data/${pad(Math.floor((i * 2 ** 44) / count).toString(16), 11)}-object`,
};
const keyOf = SHAPES[shape];
if (!keyOf) throw new Error(`no such shape: ${shape}`);

/** Index of the first greater key. */
function after(key) {
  let low = 0;
  for (let high = count; low < high; ) {
    const middle = (low + high) >>> 1;
    if (keyOf(middle) > key) high = middle;
    else low = middle + 1;
  }
  return low;
}

const stats = { pages: 0, delimited: 0, single: 0, objects: 0, atOnce: 0, mostAtOnce: 0 };
const tail = `<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;900150983cd24fb0d6963f7d28e17f72&quot;</ETag><Size>3</Size><StorageClass>STANDARD</StorageClass></Contents>`;

function page(query) {
  const prefix = query.get("prefix") ?? "";
  const delimiter = query.get("delimiter");
  const most = Math.min(Number(query.get("max-keys") ?? PAGE), PAGE);
  const start = query.get("continuation-token") ?? query.get("start-after") ?? "";
  let at = Math.max(
    after(start),
    prefix === ""
      ? 0
      : after(`${prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) - 1)}\uffff`),
  );
  const items = [];
  let last = "";
  while (at < count && items.length < most) {
    const key = keyOf(at);
    if (!key.startsWith(prefix)) break;
    const end = delimiter ? key.indexOf(delimiter, prefix.length) : -1;
    if (end < 0) {
      items.push(`<Contents><Key>${key}</Key>${tail}`);
      last = key;
      at++;
    } else {
      const folder = key.slice(0, end + 1);
      items.push(`<CommonPrefixes><Prefix>${folder}</Prefix></CommonPrefixes>`);
      last = `${folder}\uffff`;
      at = after(last);
    }
  }
  const truncated = at < count && keyOf(at).startsWith(prefix);
  const next = truncated ? `<NextContinuationToken>${last}</NextContinuationToken>` : "";
  stats[most === 1 ? "single" : delimiter ? "delimited" : "pages"]++;
  return `<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>${prefix}</Prefix><EncodingType>url</EncodingType><KeyCount>${items.length}</KeyCount><MaxKeys>${most}</MaxKeys><IsTruncated>${truncated}</IsTruncated>${next}${items.join("")}</ListBucketResult>`;
}

const server = createServer((request, answer) => {
  const url = new URL(request.url, "http://localhost");
  if (url.pathname === "/stats") return answer.end(JSON.stringify(stats));
  if (!url.searchParams.has("list-type")) {
    stats.objects++;
    answer.writeHead(200, { "content-length": 3, etag: '"900150983cd24fb0d6963f7d28e17f72"' });
    return answer.end(request.method === "HEAD" ? undefined : "abc");
  }
  stats.mostAtOnce = Math.max(stats.mostAtOnce, ++stats.atOnce);
  const due = performance.now() + delayMs;
  const body = page(url.searchParams);
  setTimeout(
    () => {
      stats.atOnce--;
      answer.end(body);
    },
    Math.max(due - performance.now(), 0),
  );
});
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () =>
  console.log(`http://127.0.0.1:${server.address().port}`),
);
