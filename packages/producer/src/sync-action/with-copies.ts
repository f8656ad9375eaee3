import { originalName } from "@drover/shared/pair/conflict-name";
import type { Wanted } from "../expand/patterns.js";

/**
 * The paths that are wanted, and their conflict copies: a copy belongs to the pair where its file does.
 *
 * @param owned which of them, by the name of the file. Default: all.
 */
export function withCopies(wanted: Wanted, owned: Wanted = () => true): Wanted {
  return (name) => {
    const original = originalName(name);
    return (wanted(name) || wanted(original)) && owned(original);
  };
}
