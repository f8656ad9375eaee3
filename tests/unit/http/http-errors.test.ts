import { TransferError } from "@drover/shared/errors";
import { connectionError, retryAfterMs, statusError } from "@drover/shared/storage/http/errors";
import { versionOf } from "@drover/shared/storage/http/source";
import { describe, expect, test } from "vitest";

const NOW = Date.parse("2026-01-01T00:00:00Z");

test("an unknown authority is told what Drover takes, and not what Node takes", () => {
  const code = "UNABLE_TO_VERIFY_LEAF_SIGNATURE";
  const text =
    "unable to verify the first certificate; if the root CA is installed locally, try running Node.js with --use-system-ca";
  const { message } = connectionError(Object.assign(new Error(text), { code }), 1_000);
  expect(message).toBe(
    `certificate or TLS error (${code}): unable to verify the first certificate; --ca-file (DROVER_CA_FILE) or SSL_CERT_FILE can name its authority`,
  );
});

describe("Retry-After", () => {
  test.for<[string | undefined, number | undefined]>([
    ["0", 0],
    ["7", 7_000],
    [" 7 ", 7_000],
    ["3600", 3_600_000],
    ["3601", 3_600_000],
    ["99999999999999999999", 3_600_000],
    ["Thu, 01 Jan 2026 00:00:30 GMT", 30_000],
    ["Thu, 01 Jan 2026 12:00:00 GMT", 3_600_000],
    ["Wed, 31 Dec 2025 23:00:00 GMT", 0],
    ["Thursday, 01-Jan-26 00:00:30 GMT", 30_000],
    [undefined, undefined],
    ["", undefined],
    ["soon", undefined],
    ["Infinity", undefined],
    ["NaN", undefined],
  ])("%j is %j", ([value, expected]) => {
    expect(retryAfterMs(value, NOW)).toBe(expected);
  });
});

describe("the status", () => {
  test.for<[number, string, boolean, string]>([
    [404, "not-found", true, "ok"],
    [410, "not-found", true, "ok"],
    [401, "forbidden", true, "ok"],
    [403, "forbidden", true, "ok"],
    [407, "forbidden", true, "ok"],
    [429, "throttled", false, "fail"],
    [408, "server", false, "ok"],
    [425, "server", false, "ok"],
    [500, "server", false, "fail"],
    [502, "server", false, "fail"],
    [503, "server", false, "fail"],
    [504, "server", false, "fail"],
    [599, "server", false, "fail"],
    [400, "http", true, "ok"],
    [418, "http", true, "ok"],
    [204, "http", true, "ok"],
    [206, "http", true, "ok"],
    [300, "http", true, "ok"],
    [304, "http", true, "ok"],
  ])("%i is %s (permanent: %s, for the breaker: %s)", ([status, cls, permanent, verdict]) => {
    const error = statusError(status, {});
    expect(error).toBeInstanceOf(TransferError);
    expect(error).toMatchObject({ class: cls, permanent, verdict, retryAfterMs: undefined });
    expect(error.message).toContain(String(status));
  });

  test.for([429, 503, 500, 408, 425])("%i honours Retry-After", (status) => {
    expect(statusError(status, { "retry-after": "9" }).retryAfterMs).toBe(9_000);
    expect(statusError(status, { "retry-after": "what" }).retryAfterMs).toBeUndefined();
  });
});

describe("a connection error", () => {
  test.for<[string, string, boolean]>([
    ["UND_ERR_CONNECT_TIMEOUT", "timeout", false],
    ["ETIMEDOUT", "timeout", false],
    ["UND_ERR_HEADERS_TIMEOUT", "timeout", false],
    ["UND_ERR_BODY_TIMEOUT", "timeout", false],
    ["ENOTFOUND", "dns", false],
    ["EAI_AGAIN", "dns", false],
    ["ECONNREFUSED", "connect", false],
    ["EHOSTUNREACH", "connect", false],
    ["ENETUNREACH", "connect", false],
    ["ECONNRESET", "connect", false],
    ["EPIPE", "connect", false],
    ["UND_ERR_SOCKET", "connect", false],
    ["UND_ERR_HEADERS_OVERFLOW", "protocol", false],
    ["HPE_INVALID_CONSTANT", "protocol", false],
    ["HPE_HEADER_OVERFLOW", "protocol", false],
    ["CERT_HAS_EXPIRED", "tls", true],
    ["DEPTH_ZERO_SELF_SIGNED_CERT", "tls", true],
    ["SELF_SIGNED_CERT_IN_CHAIN", "tls", true],
    ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "tls", true],
    ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "tls", true],
    ["ERR_TLS_CERT_ALTNAME_INVALID", "tls", true],
    ["ERR_SSL_WRONG_VERSION_NUMBER", "tls", true],
    ["EPROTO", "tls", false],
    ["SOMETHING_NEW", "connect", false],
  ])("%s is %s (permanent: %s) and counts against the host", ([code, cls, permanent]) => {
    const error = connectionError(Object.assign(new Error("x"), { code }), 1_500);
    expect(error).toMatchObject({ class: cls, permanent, verdict: "fail" });
    expect(error.message).not.toMatch(/\n/);
  });

  test("for every address of a name is reported by the first", () => {
    const inner = Object.assign(new Error("x"), { code: "ECONNREFUSED" });
    expect(connectionError(new AggregateError([inner, new Error("y")]), 1_000).class).toBe("connect");
  });

  test("names the elapsed time", () => {
    const error = connectionError(Object.assign(new Error("x"), { code: "UND_ERR_HEADERS_TIMEOUT" }), 1_500);
    expect(error.message).toContain("1.5 s");
  });

  test("that is classified already stays as it is", () => {
    const known = new TransferError("address", "no");
    expect(connectionError(known, 1)).toBe(known);
  });
});

describe("the version of a response", () => {
  const date = "Thu, 01 Jan 2026 00:00:10 GMT";
  const length = { "content-length": "5" };
  test.for<[Record<string, string>, string]>([
    [{ etag: '"a"', date }, 'e"a"'],
    [{ etag: 'W/"a"', date }, 'eW/"a"'],
    [{ etag: '"a"', "last-modified": date, ...length }, 'e"a"'],
    [
      { "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT", date, ...length },
      "mThu, 01 Jan 2026 00:00:00 GMT;5",
    ],
    [
      { "last-modified": "Thu, 01 Jan 2026 00:00:08 GMT", date, ...length },
      "mThu, 01 Jan 2026 00:00:08 GMT;5",
    ],
    // The file may change again within the second of its date.
    [{ "last-modified": "Thu, 01 Jan 2026 00:00:09 GMT", date, ...length }, ""],
    [{ "last-modified": date, date, ...length }, ""],
    // A date far in the future is only compared for equality.
    [
      { "last-modified": "Wed, 01 Jan 2076 00:00:00 GMT", date, ...length },
      "mWed, 01 Jan 2076 00:00:00 GMT;5",
    ],
    [{ "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT", date }, ""],
    [{ "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT", ...length }, ""],
    [{ "last-modified": "yesterday", date, ...length }, ""],
    [{}, ""],
  ])("is derived from its headers: %j", ([headers, expected]) => {
    expect(versionOf(headers)).toBe(expected);
  });
});
