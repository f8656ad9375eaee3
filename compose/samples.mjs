/**
 * Makes the bucket BUCKET of a SeaweedFS whose filer is at FILER, and puts sample files into it. What is there already is left
 * alone. A directory below /buckets is a bucket.
 */
const { FILER, BUCKET } = process.env;

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
  ["readme.txt", "Files of this bucket are copied to /data/incoming.\n"],
]);

for (const [key, text] of Object.entries(samples)) {
  const url = `${FILER}/buckets/${BUCKET}/${key}`;
  const known = await fetch(url, { method: "HEAD" });
  if (known.ok) continue;
  const body = new FormData();
  body.set("file", new Blob([text]), key);
  const answer = await fetch(url, { method: "POST", body });
  if (!answer.ok) throw new Error(`${url} answers ${answer.status}: ${await answer.text()}`);
  console.log(`put ${key} into ${BUCKET}`);
}
