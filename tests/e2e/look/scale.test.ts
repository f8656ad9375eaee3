import { expect } from "vitest";
import { itWithFakeS3 as it } from "../../harness/fixtures.js";

it("drover ls lists a prefix of any size in bounded memory", { timeout: 120_000 }, async ({
  box,
  s3,
  work,
}) => {
  const put = (from: number, to: number) => {
    for (let at = from; at < to; at++) s3.put(`p/${String(at).padStart(7, "0")}/some-name-of-a-file`, "");
  };
  const options = { cwd: work.path, env: s3.env, timeoutMs: 100_000 };
  const peaks: number[] = [];
  for (const count of [5_000, 60_000]) {
    put(peaks.length === 0 ? 0 : 5_000, count);
    for (const args of [["-r"], []]) {
      const { code, stdout, peakMiB = 0 } = await box.run(["ls", ...args, "s3://bucket/p/"], options);
      expect([code, stdout.split("\n").length]).toEqual([0, count + 1]);
      peaks.push(peakMiB);
    }
  }
  const [fewBelow = 0, few = 0, manyBelow = 0, many = 0] = peaks;
  expect([manyBelow - fewBelow, many - few].map((more) => Math.max(more, 80))).toEqual([80, 80]);
});
