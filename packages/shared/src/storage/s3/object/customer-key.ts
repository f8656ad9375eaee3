import { hash } from "node:crypto";
import type { AnswerHeaders, Headers } from "../../http/client.js";

const SSE_C = "x-amz-server-side-encryption-customer-";
const COPIED = "x-amz-copy-source-server-side-encryption-customer-";

/** Keys of a user in base64, as they are kept with the secrets of a run. Absent where objects are not encrypted so. */
export interface CustomerKeyTexts {
  source?: string | undefined;
  destination?: string | undefined;
}

/** Keys for the objects that are read, and for those that are written. */
export interface S3Keys {
  source?: CustomerKey;
  destination?: CustomerKey;
}

/**
 * A key of the user that the service encrypts objects with and does not keep (SSE-C). The key itself is private to it: it is in no
 * JSON, no message to a thread and no dump of an object.
 */
export class CustomerKey {
  readonly #base64: string;
  readonly #md5: string;

  /** @param base64 32 bytes. */
  constructor(base64: string) {
    this.#base64 = base64;
    this.#md5 = hash("md5", Buffer.from(base64, "base64"), "base64");
  }

  /** MD5 of the key in base64, which tells it from others. */
  get id(): string {
    return this.#md5;
  }

  /** For requests that write or read an object. */
  get headers(): Headers {
    return this.#named(SSE_C);
  }

  /** For requests that copy from an object that is encrypted with it. */
  get copyHeaders(): Headers {
    return this.#named(COPIED);
  }

  #named(prefix: string): Headers {
    return {
      [`${prefix}algorithm`]: "AES256",
      [`${prefix}key`]: this.#base64,
      [`${prefix}key-md5`]: this.#md5,
    };
  }

  toJSON(): undefined {
    return undefined;
  }
}

/** Whether an object is encrypted with a key of a user, by its headers. */
export function hasCustomerKey(headers: AnswerHeaders): boolean {
  return headers[`${SSE_C}algorithm`] !== undefined;
}

/** The spec of a run with its keys, for the process that uses it: they are never stored with it. */
export function withCustomerKeys<S extends object>(
  spec: S,
  texts: CustomerKeyTexts | undefined,
): S & { s3Keys?: S3Keys } {
  if (texts === undefined) return spec;
  const { source, destination } = texts;
  return {
    ...spec,
    s3Keys: {
      ...(source === undefined ? {} : { source: new CustomerKey(source) }),
      ...(destination === undefined ? {} : { destination: new CustomerKey(destination) }),
    },
  };
}
