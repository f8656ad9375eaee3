import { mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Opens an unnamed temporary file for reading and writing, so that nothing is left however the process ends.
 */
export function openTemporary(): number {
  const directory = mkdtempSync(join(tmpdir(), "drover-"));
  try {
    return openSync(join(directory, "file"), "wx+", 0o600);
  } finally {
    rmSync(directory, { recursive: true });
  }
}
