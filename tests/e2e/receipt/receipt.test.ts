import { generateKeyPairSync, sign } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { parsePublicKey } from "@drover/producer/receipt/receipt-key";
import { ReceiptError, verifyReceipt } from "@drover/producer/receipt/verify-receipt";
import { describe, expect } from "vitest";
import { file, pausedAt, status } from "../../harness/behaviours.js";
import { bytes } from "../../harness/content.js";
import { Sandbox } from "../../harness/drover.js";
import { it as base } from "../../harness/fixtures.js";
import { Gate } from "../../harness/gate.js";

/** A receipt of a run that copied two files, deleted one, and failed with one. */
interface Signed {
  path: string;
  text: string;
  lines: string[];
  /** The file of the public key, and its PEM. */
  pub: string;
  pem: string;
}

const it = base.extend<{ signed: Signed }>({
  signed: async ({ box, work }, use) => {
    work.write({ "in/a": "1", "in/new\nline": "22", "out/gone": "old" });
    const args = [work.at("in"), "--pattern", "**", "--to", work.out, "--delete", "--max-delete", "90%"];
    expect((await box.sync(args)).code).toBe(0);
    const path = work.at("receipt.jsonl");
    const made = await box.run(["receipt", "latest", "--output", path]);
    expect([made.code, made.stderr]).toEqual([0, ""]);
    const { stdout: pem } = await box.run(["receipt", "key"]);
    const pub = work.write({ "receipt.pub": pem });
    const text = readFileSync(path, "utf8");
    await use({ path, text, lines: text.split(/(?<=\n)/), pub, pem });
  },
});

const keyPath = (box: Sandbox) => join(box.state, "drover/receipt-key.pem");

describe("drover receipt", () => {
  it("says what was delivered, and is proved where nothing else is known", async ({ work, signed }) => {
    const [head, ...files] = signed.lines.map((line) => JSON.parse(line));
    const end = files.pop();
    expect(head).toMatchObject({
      ...{ drover_receipt: 1, state: "done", complete: true, from: [work.at("in")], to: work.out },
      counts: { files: 3, copied: 2, deleted: 1, failed: 0 },
    });
    expect(files).toEqual([
      {
        ...{ file: 0, status: "delivered", source: work.at("in/a"), version: expect.stringMatching(/^l/) },
        ...{ destination: work.to("a"), name: "a", size: 1, sha256: expect.stringMatching(/^6b86b273ff34/) },
        ...{ fence: expect.stringMatching(/^\d{16}$/), verified_by: "length", attempts: 1, error: null },
        at: expect.stringMatching(/^20..-..-..T/),
      },
      expect.objectContaining({ file: 1, name: "new\nline", size: 2 }),
      expect.objectContaining({ file: 2, status: "deleted", name: "gone", size: null, sha256: null }),
    ]);
    expect(end).toMatchObject({ end: "receipt", lines: 4 });
    const elsewhere = new Sandbox();
    try {
      const args = ["receipt", "verify", signed.path, "--key", signed.pub, "--files", work.out];
      const there = await elsewhere.run(args);
      expect([there.code, there.stderr]).toEqual([0, ""]);
      expect(there.stdout).toMatch(
        /^valid: run \S+ to .*; 2 delivered, 1 deleted, 0 not delivered, .*; complete\n/,
      );
      expect(elsewhere.redisPids()).toEqual([]);
      const byText = await elsewhere.run(["receipt", "verify", signed.path, "--key", signed.pem, "--json"]);
      expect(JSON.parse(byText.stdout)).toMatchObject({ valid: true, delivered: 2, head: { run: head.run } });
      writeFileSync(work.to("a"), "!");
      rmSync(work.to("new\nline"));
      const changed = await elsewhere.run(args);
      expect(changed.code).toBe(1);
      expect(changed.stdout).toContain('✗ a (its SHA-256 is another)\n✗ "new\\nline" (it is not there)\n');
    } finally {
      await elsewhere.dispose();
    }
  });

  it("lists what did not arrive, and what a retry delivered", async ({ box, work, origin }) => {
    work.write({ "in/a": "1" });
    const url = origin.route("/later", status(404), file("late"));
    expect((await box.run(["sync", work.at("in"), url, ...work.into])).code).toBe(1);
    const first = (await box.run(["receipt", "latest"])).stdout.split("\n");
    expect(JSON.parse(first[0] as string)).toMatchObject({
      complete: true,
      counts: { copied: 1, failed: 1 },
    });
    expect(JSON.parse(first[2] as string)).toMatchObject({
      ...{ file: 1, status: "not-delivered", source: url, sha256: null, error: { class: "not-found" } },
    });
    expect((await box.run(["retry", "latest"])).code).toBe(0);
    const second = (await box.run(["receipt", "latest"])).stdout.split("\n");
    expect(JSON.parse(second[2] as string)).toMatchObject({
      file: 1,
      status: "delivered",
      source: url,
      size: 4,
    });
  });

  it("is refused of a run that has not ended, and says where it does not tell all", async ({
    box,
    work,
    origin,
  }) => {
    const url = origin.route("/f", pausedAt(bytes("x".repeat(100_000)), 1_000, new Gate()));
    const sync = box.start(["sync", url, ...work.into]);
    await origin.waitFor(1, "/f");
    const running = await box.run(["receipt", "latest"]);
    expect([running.code, running.stdout]).toEqual([2, ""]);
    expect(running.stderr).toContain("is running: only a run that has ended has a receipt");
    sync.kill("SIGKILL");
    await sync.result;
    expect((await box.run(["receipt", "latest"])).stderr).toContain("is interrupted");
    await box.run(["cancel", "latest"]);
    const cancelled = await box.run(["receipt", "latest"]);
    expect([cancelled.code, JSON.parse(cancelled.stdout.split("\n")[0] as string)]).toEqual([
      1,
      expect.objectContaining({ state: "cancelled", complete: false }),
    ]);
    work.write({ "in/a": "1" });
    expect((await box.run(["sync", work.at("in"), ...work.into, "--keep-outcomes", "0"])).code).toBe(0);
    const path = work.at("r");
    const forgotten = await box.run(["receipt", "latest", "--output", path]);
    expect(forgotten.code).toBe(1);
    expect(forgotten.stderr).toContain(
      "not complete: 0 of 1 files that were delivered or deleted are still known",
    );
    const pub = work.write({ pub: (await box.run(["receipt", "key"])).stdout });
    const { code, stdout } = await box.run(["receipt", "verify", path, "--key", pub]);
    expect([code, stdout]).toEqual([0, expect.stringContaining("NOT COMPLETE: 0 of 1")]);
  });
});

describe("drover receipt verify", () => {
  it("finds every single byte that is changed", { timeout: 120_000 }, async ({ work, signed }) => {
    const key = parsePublicKey(signed.pem);
    const original = readFileSync(signed.path);
    const path = work.at("flipped");
    let refused = 0;
    for (let at = 0; at < original.length; at++)
      for (const bit of [1, 0x20, 0x80]) {
        const flipped = Buffer.from(original);
        flipped[at] = (flipped[at] as number) ^ bit;
        writeFileSync(path, flipped);
        const error = await verifyReceipt(path, key).catch((thrown: unknown) => thrown);
        if (error instanceof ReceiptError) refused++;
      }
    expect(refused).toBe(original.length * 3);
    await verifyReceipt(signed.path, key);
  });

  it("finds what is missing, doubled, swapped, added or another's", async ({ box, work, signed }) => {
    const { lines, text } = signed;
    const [head = "", one = "", two = "", three = "", end = ""] = lines;
    const other = generateKeyPairSync("ed25519");
    const otherPem = other.publicKey.export({ type: "spki", format: "pem" }) as string;
    const { sha256 } = JSON.parse(end) as { sha256: string };
    const ofOther = sign(null, Buffer.from(`drover receipt 1\n4\n${sha256}\n`), other.privateKey).toString(
      "base64",
    );
    const later = (await box.run(["receipt", "latest"])).stdout; // of the same run, at another time
    const laterEnd = later.split(/(?<=\n)/).at(-1) as string;
    const tampered: Record<string, string> = {
      "a line is missing": head + one + three + end,
      "the head is missing": one + two + three + end,
      "a line is doubled": head + one + one + two + three + end,
      "lines are swapped": head + two + one + three + end,
      "a line is added": head + one + one.replace('"file":0', '"file":1') + two + three + end,
      "it is cut off": text.slice(0, -40),
      "its last byte is missing": text.slice(0, -1),
      "the end is missing": head + one + two + three,
      "it is empty": "",
      "there are two": text + text,
      "two of different times": text + later,
      "another receipt's end": head + one + two + three + laterEnd,
      "lines end as on Windows": text.replaceAll("\n", "\r\n"),
      "one line ends as on Windows": text.replace("\n", "\r\n"),
      "a key comes twice": text.replace('"size":1', '"size":1,"size":1'),
      "a key comes twice at the end": text.replace('"lines":4', '"lines":4,"lines":4'),
      "a space at the end": text.replace('"lines":4', '"lines": 4'),
      "an empty line behind it": `${text}\n`,
      "a byte order mark": `\ufeff${text}`,
      "another key's signature":
        head + one + two + three + end.replace(/"signature":"[^"]*"/, `"signature":"${ofOther}"`),
      "a count that says more": text.replace('"lines":4', '"lines":5'),
      "base64 written otherwise": text.replace(
        /(.)==("\}\n)$/,
        (_, last, rest) => `${next64(last)}==${rest}`,
      ),
    };
    for (const [what, content] of Object.entries(tampered)) {
      expect(content, what).not.toBe(text);
      const path = work.write({ tampered: content });
      const error = await verifyReceipt(path, parsePublicKey(signed.pem)).catch((thrown: unknown) => thrown);
      expect(error, what).toBeInstanceOf(ReceiptError);
    }
    const wrongKey = await box.run(["receipt", "verify", signed.path, "--key", work.write({ o: otherPem })]);
    expect([wrongKey.code, wrongKey.stdout]).toEqual([1, ""]);
    expect(wrongKey.stderr).toContain("is not valid: another key has signed it");
  });

  it("takes no key but one that is given", async ({ box, work, signed }) => {
    const refused = async (...args: string[]) => {
      const { code, stderr } = await box.run(["receipt", "verify", ...args]);
      expect(code).toBe(2);
      return stderr;
    };
    expect(await refused(signed.path)).toContain("--key names the public key");
    expect(await refused(signed.path, "--key", signed.path)).toContain("must be a public key in PEM");
    expect(await refused(signed.path, "--key", keyPath(box))).toContain("must be a public key in PEM");
    expect(await refused(signed.path, "--key", work.at("none"))).toContain("cannot read");
    expect(await refused(work.at("none"), "--key", signed.pub)).toContain("no such file");
    const rsa = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey;
    const pem = rsa.export({ type: "spki", format: "pem" }) as string;
    expect(await refused(signed.path, "--key", pem)).toContain("no public key of Ed25519");
  });
});

describe("the key of receipts", () => {
  it("is one, whoever makes it first", async ({ work }) => {
    const box = new Sandbox();
    try {
      const made = await Promise.all(Array.from({ length: 6 }, () => box.run(["receipt", "key"])));
      expect(new Set(made.map(({ stdout }) => stdout)).size).toBe(1);
      expect(made.every(({ code }) => code === 0)).toBe(true);
      const { mode } = statSync(keyPath(box));
      expect(mode & 0o777).toBe(0o600);
      const before = readFileSync(keyPath(box));
      await box.run(["receipt", "key"]);
      expect(readFileSync(keyPath(box))).toEqual(before);
      const refused = async () => {
        const { code, stdout, stderr } = await box.run(["receipt", "key"]);
        expect([code, stdout]).toEqual([2, ""]);
        return stderr;
      };
      chmodSync(keyPath(box), 0o640);
      expect(await refused()).toContain("others may use it (mode 0640)");
      chmodSync(keyPath(box), 0o600);
      writeFileSync(keyPath(box), "half a k");
      expect(await refused()).toContain("it is no private key of Ed25519");
      writeFileSync(keyPath(box), before);
      renameSync(keyPath(box), work.at("moved"));
      symlinkSync(work.at("moved"), keyPath(box));
      expect(await refused()).toContain("it is a link");
      rmSync(keyPath(box));
      mkdirSync(keyPath(box));
      expect(await refused()).toContain("not a regular file");
      rmSync(keyPath(box), { recursive: true });
      expect(existsSync(keyPath(box))).toBe(false);
    } finally {
      await box.dispose();
    }
  });
});

/** The character of base64 whose bits differ in the last one alone, which means nothing before `==`. */
function next64(character: string): string {
  const all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  return all[all.indexOf(character) ^ 1] as string;
}
