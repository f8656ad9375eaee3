import type { IncomingMessage, ServerResponse } from "node:http";

export interface Stored {
  content: Buffer;
  etag: string;
  modified: Date;
  headers: Record<string, string>;
}

export interface FakeRequest {
  method: string;
  /** Decoded. */
  key: string;
  query: URLSearchParams;
  headers: IncomingMessage["headers"];
}

/** The objects of the one bucket. */
export interface FakeObjects {
  put(key: string, content: Buffer | string, headers?: Record<string, string>): unknown;
  stored(key: string): Stored | undefined;
  remove(key: string): void;
}

export function sendError(
  answer: ServerResponse,
  status: number,
  code: string,
  headers: Record<string, string> = {},
  more = "",
): void {
  answer.writeHead(status, headers).end(`<?xml version="1.0"?><Error><Code>${code}</Code>${more}</Error>`);
}
