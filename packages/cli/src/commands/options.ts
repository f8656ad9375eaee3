/** Ends the command with an exit code, once all that it has printed was written. */
export type Exit = (code: number) => void;

/** For an option that may be given more than once. */
export function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

export const HOST_LIMIT =
  "of the whole fleet, e.g. 'example.com=conn:8,rps:50,bw:20MB', '*=conn:16' or 'example.com=none' (repeatable)";

/** Flags that say how outcomes are printed. */
export interface OutputFlags {
  json?: boolean;
  ndjson?: boolean;
}
