import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SnsVerifier } from "@drover/service/events/sns";
import { type SnsEnvelope, snsEnvelopeSchema } from "@drover/service/events/sns-envelope";
import {
  SnsCertificateError,
  SnsError,
  SnsSignatureError,
  SnsTimeError,
  SnsTopicError,
  SnsUrlError,
} from "@drover/service/events/sns-errors";
import { subscribeUrl } from "@drover/service/events/sns-url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { awsRecord, snsEnvelope } from "./bodies.js";
import { makeSigner, type Signer, signed } from "./sns-signer.js";

const HOUR_MS = 3_600_000;
const TOPIC = "arn:aws:sns:us-west-2:123456789012:MyTopic";
const SNS = "https://sns.us-west-2.amazonaws.com";

let directory: string;
let signer: Signer;
let other: Signer;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "drover-sns-"));
  [signer, other] = await Promise.all([makeSigner(directory), makeSigner(directory)]);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

function envelope(fields: Record<string, unknown> = {}): SnsEnvelope {
  const Timestamp = new Date().toISOString();
  return snsEnvelopeSchema.parse(snsEnvelope({ Records: [awsRecord("ü")] }, { Timestamp, ...fields }));
}

function confirmation(fields: Record<string, unknown> = {}): SnsEnvelope {
  const query = new URLSearchParams({ Action: "ConfirmSubscription", TopicArn: TOPIC, Token: "2336412f37" });
  const SubscribeURL = `${SNS}/?${query}`;
  return envelope({
    Type: "SubscriptionConfirmation",
    Token: "2336412f37",
    SubscribeURL,
    Subject: undefined,
    ...fields,
  });
}

/** A verifier that gets `pem` from everywhere, and the URLs that it asked for. */
function verifier(options: Partial<ConstructorParameters<typeof SnsVerifier>[0]> = {}, pem?: string) {
  const asked: string[] = [];
  const fetchCertificate = async (url: string) => {
    asked.push(url);
    return pem ?? signer.certificate;
  };
  return {
    asked,
    verify: (each: SnsEnvelope) => new SnsVerifier({ fetchCertificate, ...options }).verify(each),
  };
}

describe("a signature", () => {
  it.each(["1", "2"] as const)("of version %s is accepted", async (version) => {
    await verifier().verify(signed(envelope(), signer, version));
    await verifier().verify(signed(envelope({ Subject: undefined }), signer, version));
    await verifier().verify(signed(confirmation(), signer, version));
    await verifier().verify(signed(confirmation({ Type: "UnsubscribeConfirmation" }), signer, version));
  });

  it.each(["Message", "MessageId", "Subject", "TopicArn"] as const)(
    "does not survive another %s",
    async (field) => {
      const message = signed(envelope(), signer);
      await expect(verifier().verify({ ...message, [field]: `${message[field]} ` })).rejects.toThrow(
        SnsSignatureError,
      );
    },
  );

  it("does not survive another time, type, token or URL", async () => {
    const message = signed(confirmation(), signer);
    const tampered: Partial<SnsEnvelope>[] = [
      { Timestamp: new Date(Date.parse(message.Timestamp) - 1000).toISOString() },
      { Type: "UnsubscribeConfirmation" },
      { Type: "Notification" },
      { Token: "other" },
      { SubscribeURL: `${message.SubscribeURL}&x=1` },
    ];
    for (const fields of tampered)
      await expect(verifier().verify({ ...message, ...fields })).rejects.toThrow(SnsSignatureError);
  });

  it("of another key, or of the other version, is refused", async () => {
    await expect(verifier().verify(signed(envelope(), other))).rejects.toThrow(SnsSignatureError);
    const message = { ...signed(envelope(), signer, "1"), SignatureVersion: "2" };
    await expect(verifier().verify(message)).rejects.toThrow(SnsSignatureError);
  });

  it.each([
    { SignatureVersion: "3" },
    { SignatureVersion: undefined },
    { Signature: undefined },
    { Signature: "" },
    { Signature: "***" },
    { Signature: "A".repeat(4096) },
  ])("that is %o is refused before anything is fetched", async (fields) => {
    const { asked, verify } = verifier();
    await expect(verify({ ...signed(envelope(), signer), ...fields })).rejects.toThrow(SnsSignatureError);
    expect(asked).toEqual([]);
  });
});

describe("the URL of a certificate", () => {
  const path = "/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem";

  it.each([
    `${SNS}${path}`,
    `https://sns.cn-north-1.amazonaws.com.cn${path}`,
    `https://sns.us-gov-west-1.amazonaws.com${path}`,
  ])("may be %s", async (url) => {
    const { asked, verify } = verifier();
    await verify(signed(envelope({ SigningCertURL: url }), signer));
    expect(asked).toEqual([url]);
  });

  it.each([
    `https://sns.us-east-1.amazonaws.com.evil.com${path}`,
    `https://sns.us-east-1.amazonaws.com.cn.evil.com${path}`,
    `https://evil.com/sns.us-east-1.amazonaws.com${path}`,
    `https://evil.sns.us-east-1.amazonaws.com${path}`,
    `https://snsXus-east-1.amazonaws.com${path}`,
    `https://sns.evil.amazonaws.com${path}`,
    `https://sns.amazonaws.com${path}`,
    `https://sqs.us-east-1.amazonaws.com${path}`,
    `https://mybucket.s3.amazonaws.com${path}`,
    `https://sns.us-east-1.amazonaws.com.${path}`,
    `http://sns.us-east-1.amazonaws.com${path}`,
    `ftp://sns.us-east-1.amazonaws.com${path}`,
    `https://sns.us-east-1.amazonaws.com:8443${path}`,
    `https://sns.us-east-1.amazonaws.com:443${path}`,
    `https://user@sns.us-east-1.amazonaws.com${path}`,
    `https://user:password@sns.us-east-1.amazonaws.com${path}`,
    `https://sns.us-east-1.amazonaws.com@evil.com${path}`,
    `https://sns.us-east-1.amazonaws.com\\@evil.com${path}`,
    `https://evil.com\\.sns.us-east-1.amazonaws.com${path}`,
    `https:\\\\sns.us-east-1.amazonaws.com${path}`,
    ` https://sns.us-east-1.amazonaws.com${path}`,
    `https://SNS.us-east-1.amazonaws.com${path}`,
    `https://sns.us-east-1.amazonaws.com${path}?x=1`,
    `https://sns.us-east-1.amazonaws.com${path}#x`,
    `https://sns.us-east-1.amazonaws.com/x${path}`,
    `https://sns.us-east-1.amazonaws.com/SimpleNotificationService-..%2f.pem`,
    `https://sns.us-east-1.amazonaws.com/other.pem`,
    `https://127.0.0.1${path}`,
    `https://169.254.169.254${path}`,
    "",
    "no URL",
  ])("must not be %s, and nothing is fetched from there", async (SigningCertURL) => {
    const { asked, verify } = verifier();
    await expect(verify(signed(envelope({ SigningCertURL }), signer))).rejects.toThrow(SnsUrlError);
    expect(asked).toEqual([]);
  });

  it("may be at the hosts of a list, and then nowhere else", async () => {
    const { asked, verify } = verifier({ hosts: ["sns.example.com:8443"] });
    await verify(signed(envelope({ SigningCertURL: `https://sns.example.com:8443${path}` }), signer));
    for (const SigningCertURL of [
      `https://sns.example.com${path}`,
      `http://sns.example.com:8443${path}`,
      `${SNS}${path}`,
    ])
      await expect(verify(signed(envelope({ SigningCertURL }), signer))).rejects.toThrow(SnsUrlError);
    expect(asked).toHaveLength(1);
  });
});

describe("a message", () => {
  it("of more than an hour ago is refused, and one from the future", async () => {
    const { asked, verify } = verifier();
    for (const ageMs of [HOUR_MS + 1000, -HOUR_MS]) {
      const Timestamp = new Date(Date.now() - ageMs).toISOString();
      await expect(verify(signed(envelope({ Timestamp }), signer))).rejects.toThrow(SnsTimeError);
    }
    await expect(verify(signed(envelope({ Timestamp: "now" }), signer))).rejects.toThrow(SnsTimeError);
    expect(asked).toEqual([]);
    await verify(
      signed(envelope({ Timestamp: new Date(Date.now() - HOUR_MS + 60_000).toISOString() }), signer),
    );
  });

  it("of a topic that is not on the list is refused", async () => {
    const message = signed(envelope(), signer);
    await verifier({ topics: [TOPIC] }).verify(message);
    for (const topics of [[], [`${TOPIC}2`], [TOPIC.toLowerCase()]]) {
      const { asked, verify } = verifier({ topics });
      await expect(verify(message)).rejects.toThrow(SnsTopicError);
      expect(asked).toEqual([]);
    }
  });

  it("is refused in one line that says nothing of what it contained", async () => {
    const secret = "sécret";
    const message = { ...signed(envelope({ Message: secret }), signer), Subject: secret };
    const error = await verifier()
      .verify(message)
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(SnsError);
    expect(String(error)).not.toMatch(/sécret|\n/);
  });
});

describe("a certificate", () => {
  const rejected = (pem: string) => expect(verifier({}, pem).verify(signed(envelope(), signer))).rejects;

  it("that is none, or of somebody else, is refused", async () => {
    await rejected("").toThrow(SnsCertificateError);
    await rejected("<html>").toThrow(SnsCertificateError);
    await rejected(signer.certificate.replace(/[A-Z]/g, "A")).toThrow(SnsCertificateError);
    await rejected(`${signer.certificate}${" ".repeat(65_536)}`).toThrow(SnsCertificateError);
    for (const name of [
      "example.com",
      "sns.amazonaws.com.evil.com",
      "evil-sns.amazonaws.com",
      "sqs.amazonaws.com",
    ])
      await rejected((await makeSigner(directory, { name })).certificate).toThrow(SnsCertificateError);
  });

  it.each([
    "sns.us-east-1.amazonaws.com",
    "sns-signing.ap-southeast-3.amazonaws.com",
    "sns-us-gov-west-1.amazonaws.com",
    "sns-cn-north-1.amazonaws.com.cn",
  ])("may be of %s", async (name) => {
    const regional = await makeSigner(directory, { name });
    await verifier({}, regional.certificate).verify(signed(envelope(), regional));
  });

  it("with another kind of key, or a short one, is refused", async () => {
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
    for (const key of [curve, ["-newkey", "rsa:1024"]])
      await rejected((await makeSigner(directory, { key })).certificate).toThrow(SnsCertificateError);
  });

  it("must be valid by now", async () => {
    for (const days of [-1, 3]) {
      const nowMs = Date.now() + days * 24 * HOUR_MS;
      const message = signed(envelope({ Timestamp: new Date(nowMs).toISOString() }), signer);
      await expect(verifier({ now: () => nowMs }).verify(message)).rejects.toThrow(SnsCertificateError);
    }
  });

  it("must be issued by what follows it in the file", async () => {
    await rejected(`${signer.certificate}${other.certificate}`).toThrow(SnsCertificateError);
    await verifier({}, `${signer.certificate}${signer.certificate}`).verify(signed(envelope(), signer));
  });

  it("is fetched once for many messages, and again after an hour", async () => {
    let nowMs = Date.now();
    let fetches = 0;
    const fetchCertificate = async () => {
      fetches += 1;
      return signer.certificate;
    };
    const sns = new SnsVerifier({ fetchCertificate, now: () => nowMs });
    const message = () => signed(envelope({ Timestamp: new Date(nowMs).toISOString() }), signer);
    await Promise.all([sns.verify(message()), sns.verify(message())]);
    await sns.verify(message());
    expect(fetches).toBe(1);
    nowMs += HOUR_MS + 1;
    await sns.verify(message());
    expect(fetches).toBe(2);
  });

  it("that could not be fetched is asked for again", async () => {
    const answers = [Promise.reject(new Error("connection refused")), Promise.resolve(signer.certificate)];
    const sns = new SnsVerifier({ fetchCertificate: () => answers.shift() ?? Promise.reject(new Error()) });
    await expect(sns.verify(signed(envelope(), signer))).rejects.toThrow(SnsCertificateError);
    await sns.verify(signed(envelope(), signer));
  });

  it("is one of 16 that are kept, and of 4 that are fetched at once", async () => {
    const asked: string[] = [];
    const gate = Promise.withResolvers<void>();
    const fetchCertificate = async (url: string) => {
      asked.push(url);
      await gate.promise;
      return signer.certificate;
    };
    const sns = new SnsVerifier({ fetchCertificate });
    const at = (index: number) =>
      sns.verify(
        signed(envelope({ SigningCertURL: `${SNS}/SimpleNotificationService-${index}.pem` }), signer),
      );
    const first = [at(0), at(1), at(2), at(3)];
    await expect(at(4)).rejects.toThrow(SnsCertificateError);
    gate.resolve();
    await Promise.all(first);
    for (let index = 4; index < 17; index += 1) await at(index);
    expect(asked).toHaveLength(17);
    await at(16);
    expect(asked).toHaveLength(17);
    await at(0);
    expect(asked).toHaveLength(18);
  });
});

describe("the URL that confirms a subscription", () => {
  it("is that of the message", () => {
    expect(subscribeUrl(confirmation())).toBe(confirmation().SubscribeURL);
  });

  it.each([
    "http://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription",
    `https://sns.us-west-2.amazonaws.com.evil.com/?Action=ConfirmSubscription&TopicArn=${TOPIC}&Token=2336412f37`,
    `${SNS}/?Action=Unsubscribe&TopicArn=${TOPIC}&Token=2336412f37`,
    `${SNS}/?Action=ConfirmSubscription&TopicArn=${TOPIC}&Token=other`,
    `${SNS}/?Action=ConfirmSubscription&TopicArn=${TOPIC}2&Token=2336412f37`,
    `${SNS}/x?Action=ConfirmSubscription&TopicArn=${TOPIC}&Token=2336412f37`,
    undefined,
  ])("must not be %s", (SubscribeURL) => {
    expect(() => subscribeUrl(confirmation({ SubscribeURL }))).toThrow(SnsUrlError);
  });

  it("is of a SubscriptionConfirmation alone", () => {
    expect(() => subscribeUrl(confirmation({ Type: "UnsubscribeConfirmation" }))).toThrow(SnsUrlError);
  });
});
