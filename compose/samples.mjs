/**
 * Makes the bucket BUCKET of a SeaweedFS whose filer is at FILER, and puts sample files into it, unless --empty is given. What is
 * there already is left alone. A directory below /buckets is a bucket.
 */
const { FILER, BUCKET } = process.env;
const isEmpty = process.argv.includes("--empty");

const rows = (day) =>
  ["order_id,ordered_at,sku,quantity"]
    .concat(
      Array.from(
        { length: 200 },
        (_, at) => `${day * 1000 + at},2026-01-${day}T08:00:00Z,SKU-${at},${at % 7}`,
      ),
    )
    .join("\n");
const samples = Object.fromEntries([
  ...[11, 12, 13].map((day) => [`orders/2026-01-${day}.csv`, rows(day)]),
  ["readme.txt", `Files of the bucket ${BUCKET} are copied.\n`],
]);

const made = await fetch(`${FILER}/buckets/${BUCKET}/`, { method: "POST" });
if (!made.ok && made.status !== 409)
  throw new Error(`${made.url} answers ${made.status}: ${await made.text()}`);

for (const [key, text] of Object.entries(isEmpty ? {} : samples)) {
  const url = `${FILER}/buckets/${BUCKET}/${key}`;
  const known = await fetch(url, { method: "HEAD" });
  if (known.ok) continue;
  const body = new FormData();
  body.set("file", new Blob([text]), key);
  const answer = await fetch(url, { method: "POST", body });
  if (!answer.ok) throw new Error(`${url} answers ${answer.status}: ${await answer.text()}`);
  console.log(`put ${key} into ${BUCKET}`);
}
