import { statfs } from "node:fs/promises";
import type { MetricsExporter } from "@drover/shared/metrics/exporter";
import { IN_PROGRESS_BYTES, ROOT_FREE_BYTES, ROOT_SIZE_BYTES } from "@drover/shared/metrics/names";

/**
 * Adds what a worker knows of the file systems that it writes to (of other storages nothing is told), and of its files.
 *
 * @param progress bytes received, one number per file.
 */
export function tellWorker(metrics: MetricsExporter, roots: string[], progress: () => number[]): void {
  tellProgress(metrics, progress);
  tellRoots(metrics, roots);
}

function tellProgress(metrics: MetricsExporter, progress: () => number[]): void {
  const bytes = metrics.gauge(IN_PROGRESS_BYTES);
  metrics.beforeTelling(() => bytes.set(progress().reduce((sum, each) => sum + each, 0)));
}

function tellRoots(metrics: MetricsExporter, roots: string[]): void {
  const free = metrics.gauge(ROOT_FREE_BYTES);
  const size = metrics.gauge(ROOT_SIZE_BYTES);
  const local = [...roots.entries()].filter(([, root]) => root.startsWith("/"));
  metrics.beforeTelling(async () => {
    for (const [at, root] of local) {
      const labels = { root: String(at) };
      try {
        const { bavail, blocks, bsize } = await statfs(root);
        free.set(bavail * bsize, labels);
        size.set(blocks * bsize, labels);
      } catch {
        free.forget(); // it cannot be reached now: better no value than an old one
        size.forget();
      }
    }
  });
}
