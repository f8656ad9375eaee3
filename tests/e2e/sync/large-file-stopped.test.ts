import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, sha256, sha256OfFile } from "../../harness/content.js";
import { leftovers } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";
import { until } from "../../harness/gate.js";

const MIB = 1 << 20;
const FILE = pattern(96 * MIB + 4_321, 3);
const SHA = sha256(FILE);

describe.concurrent("a large file in the middle of several streams", () => {
  it.for<["SIGKILL" | "SIGTERM", string[], number]>([
    ["SIGKILL", [], 3],
    ["SIGKILL", [], 6],
    ["SIGTERM", [], 3],
    ["SIGTERM", ["--bwlimit", "60M"], 2],
    ["SIGTERM", ["--bwlimit", "60M"], 4],
    ["SIGTERM", ["--bwlimit", "60M"], 6],
  ])(
    "is gone on with after %s (%s), at piece %s",
    { timeout: 60_000 },
    async ([signal, more, pieces], { box, origin, work }) => {
      let sentBytes = 0;
      const good = does.file(FILE, { bytesPerSecond: 30 * MIB });
      const url = origin.route("/large", (exchange) => {
        const write = exchange.response.write.bind(exchange.response) as (...args: unknown[]) => boolean;
        exchange.response.write = ((chunk: Buffer, ...rest: unknown[]) => {
          sentBytes += chunk.length;
          return write(chunk, ...rest);
        }) as typeof exchange.response.write;
        return good(exchange);
      });
      const command = ["sync", url, ...work.into, "--state-dir", work.at("s")];
      const first = box.start([...command, ...more]);
      const ranges = () => origin.requests.filter(({ headers }) => headers.range !== undefined).length;
      await until("several streams", () => ranges() >= pieces);
      first.kill(signal);
      const stopped = await first.result;
      expect(stopped.code === 0, "it was over before").toBe(false);
      sentBytes = 0;
      const again = await box.run(command);
      expect(again.code, again.stderr).toBe(0);
      expect(await sha256OfFile(work.to("large"))).toBe(SHA);
      // What a killed process had is known as far as its last renewal of the lease has told.
      if (signal === "SIGTERM") expect(sentBytes).toBeLessThan(FILE.size);
      expect(leftovers(work.out)).toEqual([]);
    },
  );
});
