import { redactText, redactUrl } from "@drover/shared/redact";
import { describe, expect, test } from "vitest";

describe("a redacted URL", () => {
  test.for([
    "http://user:CANARY@host/a",
    "http://CANARY@host/a",
    "https://CANARY:x@host:8443/a?b=1",
    "http://user:CANARY%40x@host/a",
    "http://user:pass@CANARY@host/a",
    "http://user:CANARY@host",
    "http://user:CANARY@host?x=1",
    "redis://:CANARY@host:6379/0",
    "rediss+sentinel://user:CANARY@a:1,b:2/master?sentinel-password=CANARY",
    "redis+cluster://user:CANARY@a:1,b:2",
    "https://h/a?X-Amz-Signature=CANARY&X-Amz-Credential=CANARY&X-Amz-Security-Token=CANARY",
    "https://h/a?x-goog-signature=CANARY",
    "https://h/a?sv=CANARY&sig=CANARY&se=CANARY",
    "https://h/a?token=CANARY",
    "https://h/a?access_token=CANARY",
    "https://h/a?id=1&refresh-token=CANARY",
    "https://h/a?API_KEY=CANARY",
    "https://h/a?apikey=CANARY",
    "https://h/a?key=CANARY",
    "https://h/a?password=CANARY&passwd=CANARY&pwd=CANARY",
    "https://h/a?client_secret=CANARY",
    "https://h/a?Signature=CANARY&AWSAccessKeyId=CANARY&Expires=1",
    "https://h/a?Policy=CANARY&Key-Pair-Id=CANARY",
    "https://h/a?auth=CANARY",
    "https://h/a?Authorization=CANARY",
    "https://h/a?jwt=CANARY",
    "https://h/a?session=CANARY&sid=CANARY",
    "https://h/a?%74oken=CANARY",
    "https://h/a?X%2DAmz%2DSignature=CANARY",
    "https://h/a?%zz=CANARY",
    "https://h/a?a=1&token=x=CANARY",
    "https://h/a#access_token=CANARY",
    "https://h/a?token=CANARY#x",
    "HTTPS://user:CANARY@host/a",
    "http://user:CAN/CANARY@host/x",
    "http://user:CAN?CANARY@host/x",
    "http://user:CAN#CANARY@host/x",
    "http://user:CANARY/x@host",
    "http://[CANARY",
    "https://h/a?auth_key=CANARY&authkey=CANARY",
    "https://h/a?private_key=CANARY&secretKey=CANARY",
    "https://h/a?tempauth=CANARY",
    "https://h/a?rlkey=CANARY",
    "https://h/a?hdnts=CANARY&hdnea=CANARY&__token__=CANARY",
    "https://h/a?hmac=CANARY&ticket=CANARY&otp=CANARY",
    "redis://:a/CANARY@host:6379/0",
    "redis+cluster://u:a/CANARY@a:1,b:2",
    "https://h/a?x;sig=CANARY",
    "https://h/a?x=1;access_token=CANARY",
    "https://h/a?access_token%3DCANARY",
    "https://h/a?access%5Ftoken%3dCANARY",
  ])("shows no secret of %s", (url) => {
    expect(redactUrl(url)).not.toContain("CANARY");
    expect(redactText(`GET ${url} failed`)).not.toContain("CANARY");
    expect(redactText(`("${url}")`)).not.toContain("CANARY");
  });

  test.for<[string, string]>([
    ["http://host/a?b=1&c", "http://host/a?b=1&c"],
    ["http://host/a@b", "http://host/a@b"],
    ["http://host/a?x=u@v", "http://host/a?x=u@v"],
    ["http://user:p@host/a?b=1&token=t&c=2", "http://***@host/a?b=1&token=***&c=2"],
    ["http://host/a#part", "http://host/a"],
    ["http://host/?", "http://host/?"],
    ["/data/token=1", "/data/token=1"],
    ["not a url ?token=1", "not a url ?token=1"],
    ["http://host/a?tokens=3&monkey=1&page=2&hash=1", "http://host/a?tokens=3&monkey=1&page=2&hash=1"],
    ["http://host/a?object_key=a.csv&sort-key=b", "http://host/a?object_key=a.csv&sort-key=b"],
  ])("of %s is %s", ([url, shown]) => {
    expect(redactUrl(url)).toBe(shown);
  });

  const FORMS = [
    "CANARY",
    "a/CANARY",
    "a?CANARY",
    "a#CANARY",
    "a:CANARY",
    "a@CANARY",
    "a%2fCANARY",
    "CANARY%zz",
    "ä;CANARY",
  ];

  test.for(
    FORMS.flatMap((secret) => [
      `http://user:${secret}@host/path`,
      `https://${encodeURIComponent(secret)}:x@host:8443/path?b=1`,
      `http://host/path?a=1&token=${encodeURIComponent(secret)}`,
      `http://host/path?a=1;sig=${encodeURIComponent(secret)}&b`,
      `http://host/path#${secret}`,
      `redis://:${secret}@host:6379`,
      `redis+sentinel://user:${secret}@a:1,b:2/master`,
    ]),
  )("shows no secret wherever one stands: %s", (url) => {
    expect(redactUrl(url)).not.toContain("CANARY");
  });

  test("the same URL is always shown the same", () => {
    const url = "http://u:p@host/a?sig=1&b=2";
    expect(redactUrl(redactUrl(url))).toBe(redactUrl(url));
  });
});

describe("a text as it may be shown", () => {
  test.for(["it'sCANARY", "a'b'CANARY"])("hides a password with a quote: %s", (password) => {
    expect(redactText(`unknown command 'http://user:${password}@host/x' (see --help)`)).toBe(
      "unknown command 'http://***@host/x' (see --help)",
    );
  });

  test("hides the secrets of every URL in it and keeps the rest", () => {
    const text = "from http://u:CANARY@a/x to 's3://k:CANARY@b/y?sig=CANARY', 3 of 5 (see https://c/d?e=1)";
    expect(redactText(text)).toBe(
      "from http://***@a/x to 's3://***@b/y?sig=***', 3 of 5 (see https://c/d?e=1)",
    );
  });

  // As long as a line of a list may be. A pattern that backtracks would take minutes; this takes about 1 ms.
  test.for(["a", "http:", "http://@", "a/", "?token=", "@", "a://'", "://", "'"])(
    "is processed in linear time when it repeats %j",
    (part) => {
      const started = performance.now();
      redactText(part.repeat(Math.ceil(65_536 / part.length)));
      expect(performance.now() - started).toBeLessThan(2_000);
    },
  );
});
