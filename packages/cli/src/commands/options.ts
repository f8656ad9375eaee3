/** Ends the command with an exit code once all output is written. */
export type Exit = (code: number) => void;

/** Collects the values of a repeatable option. */
export function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

export const HOST_LIMIT_HELP =
  "of the whole fleet, e.g. 'example.com=conn:8,rps:50,bw:20MB', '*=conn:16' or 'example.com=none' (repeatable)";

/** Flags for the format of the output. */
export interface OutputFlags {
  json?: boolean;
  ndjson?: boolean;
}
