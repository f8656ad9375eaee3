import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { REPOSITORY } from "../../harness/drover.js";
import { until } from "../../harness/gate.js";
import { type Delivery, Receiver } from "../../harness/receiver.js";
import { it } from "../../harness/service.js";

const SECRET = `whsec_${randomBytes(32).toString("base64")}`;
const PAGE = readFileSync(join(REPOSITORY, "docs/webhooks.md"), "utf8");

/** What is added to the examples: they verify what comes through standard input. */
const CALLS = {
  js: 'import { readFileSync } from "node:fs"; const { secret, headers, body } = JSON.parse(readFileSync(0)); verify(secret, headers, Buffer.from(body));',
  python:
    'import json, sys; given = json.load(sys.stdin); verify(given["secret"], given["headers"], given["body"].encode())',
};

function verify(language: keyof typeof CALLS, secret: string, { headers, text: body }: Delivery): string {
  const [, example] = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "ms").exec(PAGE) ?? [];
  const code = `${example}\n${CALLS[language]}`;
  const command = language === "js" ? [process.execPath, "--input-type=module", "-e"] : ["python3", "-c"];
  try {
    const [program = "", ...args] = command;
    const input = JSON.stringify({ secret, headers, body });
    execFileSync(program, [...args, code], { input, stdio: "pipe" });
    return "right";
  } catch (error) {
    return String((error as { stderr?: Buffer }).stderr);
  }
}

it("the examples of how a signature is verified do so", async ({ serve, work }) => {
  await using receiver = await Receiver.start();
  const service = await serve(["--allow-address", "127.0.0.1", "--root", work.path], {
    ENABLE_PERIODIC_SYNC: "false",
  });
  await service.runToEnd({
    sources: [work.write({ "in/ü": "a" })],
    to: work.at("out"),
    webhook: { url: receiver.url, secret: SECRET },
  });
  const delivery = await until("a delivery", () => receiver.deliveries[0]);
  expect(delivery.text).toContain("ü");
  for (const language of ["js", "python"] as const) {
    expect(verify(language, SECRET, delivery)).toBe("right");
    const forged = { ...delivery, text: delivery.text.replace("run.done", "run.fail") };
    expect(verify(language, SECRET, forged)).toContain("wrong signature");
    expect(verify(language, `whsec_${"A".repeat(32)}`, delivery)).toContain("wrong signature");
    const old = { ...delivery, headers: { ...delivery.headers, "webhook-timestamp": "1700000000" } };
    expect(verify(language, SECRET, old)).toContain("too old");
  }
});
