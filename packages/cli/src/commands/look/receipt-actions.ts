import { createWriteStream, readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { toStandardOutput, whole } from "@drover/producer/catalog/export";
import { parsePublicKey, receiptKey } from "@drover/producer/receipt/receipt-key";
import { compareWithReceipt, ReceiptError, verifyReceipt } from "@drover/producer/receipt/verify-receipt";
import { writeReceipt } from "@drover/producer/receipt/write-receipt";
import { errnoCode, SettingsError, TransferError } from "@drover/shared/errors";
import { nameOnLine } from "../../display/check-report.js";
import { EXIT } from "../../exit.js";
import { printable, reportError, warn } from "../../output.js";
import { OptionError } from "../../settings/option-error.js";
import type { Settings } from "../../settings/settings.js";
import { withEngine } from "../engine.js";

/** `drover receipt RUN`. @returns 1 where the receipt does not tell all. */
export async function receipt(
  given: string,
  { output }: { output?: string },
  settings: Settings,
): Promise<number> {
  const key = receiptKey(settings["state-dir"] as string);
  return await withEngine(settings, async (engine) => {
    const id = await engine.ledger.find(given);
    const { head, bytes } = await writeReceipt(engine, id, key);
    if (output === undefined) await toStandardOutput(bytes);
    else
      await whole(output, (path) =>
        pipeline(Readable.from(bytes), createWriteStream(path, { flags: "wx", flush: true })),
      );
    if (head.complete) return EXIT.ok;
    warn(`the receipt is not complete: ${head.incomplete_because}`);
    return EXIT.some;
  });
}

/** `drover receipt key` */
export async function key(settings: Settings): Promise<number> {
  process.stdout.write(receiptKey(settings["state-dir"] as string).publicPem);
  return EXIT.ok;
}

/** `drover receipt verify FILE --key PUB`. @returns 1 where it proves nothing, or a file is not as it says. */
export async function verify(
  file: string,
  flags: { key?: string; files?: string; json?: boolean },
): Promise<number> {
  if (flags.key === undefined)
    throw new OptionError(
      "--key names the public key of the signer: one within the receipt would prove nothing",
    );
  const publicKey = parsePublicKey(keyText(flags.key));
  const { files } = flags;
  const differing: { name: string; why: string }[] = [];
  let differ = 0;
  try {
    const { head, delivered, deleted, notDelivered } = await verifyReceipt(file, publicKey, async (line) => {
      if (files === undefined) return;
      const why = await compareWithReceipt(files, line);
      if (why === undefined) return;
      if (flags.json) differing.push({ name: line.name, why });
      else process.stdout.write(`✗ ${nameOnLine(line.name)} (${printable(why)})\n`);
      differ++;
    });
    if (flags.json) {
      const sums = { delivered, deleted, not_delivered: notDelivered };
      const compared = files === undefined ? {} : { differing };
      process.stdout.write(`${JSON.stringify({ valid: true, head, ...sums, ...compared })}\n`);
    } else {
      const unsure = head.complete ? "complete" : `NOT COMPLETE: ${head.incomplete_because}`;
      process.stdout.write(
        `valid: run ${head.run} to ${printable(head.to)}, ${head.state} ${head.ended ?? "at no known time"}; ` +
          `${delivered} delivered, ${deleted} deleted, ${notDelivered} not delivered, ` +
          `${head.counts.unchanged} left unchanged; ${unsure}\n`,
      );
      if (files !== undefined && differ === 0)
        process.stdout.write(`all files are below ${files} as delivered\n`);
    }
    return differ === 0 ? EXIT.ok : EXIT.some;
  } catch (error) {
    if (error instanceof TransferError) throw new SettingsError(error.message);
    if (!(error instanceof ReceiptError)) throw error;
    if (flags.json) process.stdout.write(`${JSON.stringify({ valid: false, why: error.message })}\n`);
    reportError(`${file} is not valid: ${error.message}`);
    return EXIT.some;
  }
}

function keyText(given: string): string {
  if (given.includes("-----BEGIN")) return given;
  try {
    return readFileSync(given, "utf8");
  } catch (error) {
    throw new SettingsError(`--key: cannot read ${given} (${errnoCode(error)})`);
  }
}
