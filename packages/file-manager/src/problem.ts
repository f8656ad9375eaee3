import { messageOf, TransferError } from "@drover/shared/errors";

/** A request that is not carried out, as the client is told of it (RFC 9457). */
export class Problem extends Error {
  override name = "Problem";

  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail?: string,
    readonly headers: Record<string, string> = {},
  ) {
    super(detail === undefined ? title : `${title}: ${detail}`);
  }
}

/** The status of an error of the file system. */
const STATUS: Partial<Record<TransferError["class"], [number, string]>> = {
  path: [400, "Invalid path"],
  permission: [403, "Not permitted"],
  "not-found": [404, "Not found"],
  disk: [507, "No space left"],
};

/** What a client is told of anything thrown. Paths of the machine stay with it. */
export function problemOf(thrown: unknown): Problem {
  if (thrown instanceof Problem) return thrown;
  if (!(thrown instanceof TransferError)) return new Problem(500, "Internal error");
  const [status, title] = STATUS[thrown.class] ?? [500, "Internal error"];
  // Only the refusal of a name says nothing of the machine.
  const isRefusal = thrown.class === "path" && thrown.message.startsWith("refused name");
  return isRefusal ? new Problem(status, title, messageOf(thrown)) : new Problem(status, title);
}
