import { STATUS_CODES } from "node:http";

/** What an error answer says beyond its title, see {@link Problem}. */
export interface ProblemOptions {
  /** Headers of the answer, such as Allow or Retry-After. */
  headers?: Record<string, string>;
  /** Further members of the body. */
  extra?: Record<string, unknown>;
  cause?: unknown;
}

/**
 * An error that a caller is told of as `application/problem+json` (RFC 9457). Its type is `about:blank`: the status says
 * what it is, the detail what to do.
 */
export class Problem extends Error {
  override name = "Problem";

  /**
   * @param status of the answer, 400 to 599.
   * @param detail one line for people, without secrets.
   */
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly options: ProblemOptions = {},
  ) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
  }

  /** The body of the answer. */
  toJSON(): Record<string, unknown> {
    return {
      type: "about:blank",
      title: STATUS_CODES[this.status] ?? "Error",
      status: this.status,
      detail: this.detail,
      ...this.options.extra,
    };
  }
}
