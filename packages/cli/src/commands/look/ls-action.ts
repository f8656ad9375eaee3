import { listPlace } from "@drover/producer/look/list-place";
import { type Place, planPlaces } from "@drover/producer/look/places";
import { planServices } from "@drover/producer/runs/plan/services";
import { TransferError, UnavailableError } from "@drover/shared/errors";
import { redactUrl } from "@drover/shared/redact";
import { ListingError } from "@drover/shared/storage/listing-error";
import { formatOf } from "../../display/format.js";
import { LsReport } from "../../display/ls-report.js";
import { EXIT } from "../../exit.js";
import { reportError, setVerbosity, warn } from "../../output.js";
import { checkTermsOf } from "../../settings/check-terms.js";
import { OptionError } from "../../settings/option-error.js";
import type { RequestFlags } from "../../settings/run-request.js";
import type { Resolved } from "../../settings/settings.js";
import { onStopSignal } from "../../signals.js";
import type { OutputFlags } from "../options.js";

/** Flags of `drover ls`, as typed. */
export interface LsFlags extends RequestFlags, OutputFlags {
  long?: boolean;
  recursive?: boolean;
  human?: boolean;
  summarize?: boolean;
  verbose?: boolean;
}

const BUCKETS = /^s3:\/\/$/i;

/** `drover ls LOCATION…` @returns the exit code. */
export async function ls(given: string[], flags: LsFlags, resolved: Resolved): Promise<number> {
  setVerbosity(flags);
  const format = formatOf(flags);
  const isBuckets = given.some((each) => BUCKETS.test(each));
  if (isBuckets && given.length > 1)
    throw new OptionError("s3:// lists the buckets of a service: list them by themselves");
  const { sources, terms } = checkTermsOf(given, flags, resolved);
  const stop = new AbortController();
  const unlisten = onStopSignal(() => stop.abort(), EXIT.interrupted);
  const { signal } = stop;
  const report = new LsReport({
    ...flags,
    format,
    isSeveral: given.length > 1,
    onClosed: () => stop.abort(),
  });
  try {
    if (isBuckets) {
      const { s3 } = await planServices({ s3: terms.s3 }, { read: ["s3://any"] });
      const { listBuckets } = await import("@drover/shared/storage/s3/listing/list-buckets");
      if (!s3) throw new UnavailableError("there are no S3 settings");
      await attempt("s3://", report, async () => {
        for await (const bucket of listBuckets(s3, terms.timeoutMs, signal)) await report.bucket(bucket);
      });
    } else {
      const request = {
        directory: process.cwd(),
        locations: sources,
        wildcards: flags.wildcards ?? true,
        terms,
      };
      const places = await planPlaces(request);
      for (const place of places) await listOne(place, report, { flags, terms, signal });
    }
    if (signal.aborted) throw signal.reason;
    await report.end();
    return report.isComplete ? EXIT.ok : EXIT.some;
  } catch (error) {
    if (!signal.aborted) throw error;
    if (report.isClosed) return EXIT.ok;
    warn("interrupted: not everything was listed");
    return EXIT.interrupted;
  } finally {
    unlisten();
  }
}

async function listOne(
  place: Place,
  report: LsReport,
  {
    flags,
    terms,
    signal,
  }: { flags: LsFlags; terms: ReturnType<typeof checkTermsOf>["terms"]; signal: AbortSignal },
): Promise<void> {
  const { text, wildcards } = place.location;
  const shown = wildcards?.exact.text ?? redactUrl(text);
  const { headers } = terms;
  const options = { isRecursive: flags.recursive ?? false, selection: terms, headers, signal, warn };
  let isEmpty = true;
  await attempt(shown, report, async () => {
    for await (const entry of listPlace(place, options)) {
      isEmpty = false;
      await report.add(entry);
    }
    if (isEmpty && wildcards) warn(`nothing matched: ${shown}`);
  });
}

/** Says what could not be listed, and that what came before is not all. */
async function attempt(shown: string, report: LsReport, list: () => Promise<void>): Promise<void> {
  try {
    await list();
  } catch (error) {
    const isListing = error instanceof ListingError || error instanceof TransferError;
    if (!isListing || (error instanceof TransferError && error.class === "cancelled")) throw error;
    await report.broken(shown, error);
    const { message } = error;
    reportError(
      `${message.includes(shown) ? message : `cannot list ${shown}: ${message}`}; what comes after was not listed`,
    );
  }
}
