import { html } from "../html.js";
import type { Page } from "../page.js";
import type { Carried, Worker } from "./api.js";
import { bytes, counted, number, since } from "./format.js";
import { link, table } from "./parts.js";

/** Who carries what. */
export const workersPage: Page = {
  path: "/workers",
  title: "Workers",
  isInNavigation: true,
  async render({ get }) {
    const { workers } = (await get("/api/v1/workers")) as { workers: Worker[] };
    if (workers.length === 0)
      return html`<h1>Workers</h1>
<p class="empty">No worker is alive. Start one on any machine that reaches the same Redis:</p>
<pre tabindex="0"><code>drover worker --redis redis://… --root /srv/data</code></pre>`;
    const busy = workers.reduce((sum, { carrying }) => sum + carrying.length, 0);
    const slots = workers.reduce((sum, { concurrency }) => sum + concurrency, 0);
    return html`<h1>Workers</h1>
<p>${number(workers.length)} alive, carrying ${number(busy)} of ${counted(slots, "file")} at once.</p>
${table(
  "Workers that are alive",
  [
    { title: "Worker" },
    { title: "State" },
    { title: "Files", isNumber: true },
    { title: "Writes below" },
    { title: "Started", isNumber: true },
  ],
  workers.map(row),
)}`;
  },
};

function row({ id, host, pid, started_at, concurrency, roots, leads, draining, carrying }: Worker) {
  const state = [draining ? "draining" : "ready", leads && "leads"].filter(Boolean).join(", ");
  return {
    key: id,
    cells: [
      html`${host} <small>${pid}</small>`,
      state,
      html`${carrying.length} of ${concurrency}${carrying.length > 0 && html`<details id="files-${id}"><summary>Its files</summary><ul>${carrying.map(file)}</ul></details>`}`,
      roots.join(", "),
      since(started_at),
    ],
  };
}

function file({ run, source, received_bytes, size_bytes, since: begun }: Carried) {
  const received =
    size_bytes === null ? bytes(received_bytes) : `${bytes(received_bytes)} of ${bytes(size_bytes)}`;
  return html`<li>${source}: ${received}, ${since(begun)}, <a href="${link(`/runs/${run}`)}">${run}</a></li>`;
}
