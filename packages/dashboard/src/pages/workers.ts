import { html } from "../html.js";
import type { Page } from "../page.js";
import { dataTable } from "./data-table.js";
import { bytes, since } from "./format.js";

interface Worker {
  id: string;
  host: string;
  pid: number;
  started_at: string;
  concurrency: number;
  roots: string[];
  leads: boolean;
  draining: boolean;
  carrying: Carried[];
}

interface Carried {
  run: string;
  source: string;
  destination: string;
  since: string;
  received_bytes: number;
  size_bytes: number | null;
}

/** Who carries what. */
export const workersPage: Page = {
  path: "/workers",
  title: "Workers",
  isInNavigation: true,
  async render({ get }) {
    const { workers } = (await get("/api/v1/workers")) as { workers: Worker[] };
    if (workers.length === 0)
      return html`<h1>Workers</h1>
<p>No worker is alive. Start one on any machine that reaches the same Redis:</p>
<pre><code>drover worker --redis redis://… --root /srv/data</code></pre>`;
    const busy = workers.reduce((sum, { carrying }) => sum + carrying.length, 0);
    const slots = workers.reduce((sum, { concurrency }) => sum + concurrency, 0);
    return html`<h1>Workers</h1>
<p>${workers.length} alive, ${busy} of ${slots} files at once in progress.</p>
${dataTable({ label: "Workers", columns: ["Worker", "State", "#Files", "Writes below", "Since"], rows: workers.map(row) })}`;
  },
};

function row({ id, host, pid, started_at, concurrency, roots, leads, draining, carrying }: Worker) {
  const state = [draining ? "draining" : "ready", leads && "leads"].filter(Boolean).join(", ");
  return html`<tr data-key="${id}"><th scope="row">${host} <small>${pid}</small></th><td>${state}</td>
<td class="number">${carrying.length} of ${concurrency}</td><td class="long">${roots.join(", ")}</td><td>${since(started_at)}</td></tr>
${carrying.length > 0 && html`<tr data-key="${id}-files"><td colspan="5"><details><summary>Its files</summary><ul>${carrying.map(file)}</ul></details></td></tr>`}`;
}

function file({ source, received_bytes, size_bytes, since: begun }: Carried) {
  const received =
    size_bytes === null ? bytes(received_bytes) : `${bytes(received_bytes)} of ${bytes(size_bytes)}`;
  return html`<li>${source}: ${received}, ${since(begun)}</li>`;
}
