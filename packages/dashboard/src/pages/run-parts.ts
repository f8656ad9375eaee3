import { type Html, html } from "../html.js";
import type { Run } from "./api.js";
import { duration, number, percent } from "./format.js";
import { link } from "./parts.js";

/** A run by its label, or else by its sources, with its id. */
export function runName(run: Run): Html {
  const [source = ""] = run.sources;
  const more = run.sources_count > 1 ? ` and ${number(run.sources_count - 1)} more` : "";
  return html`<a href="${link(`/runs/${run.id}`)}">${run.label ?? run.id}</a><br><small>${run.label !== null && html`${run.id} · `}${source}${more}</small>`;
}

/** How far a run is, as a bar and in numbers. */
export function progressOf({ id, files, settled, sealed }: Run): Html {
  const says = sealed
    ? `${number(settled)} of ${number(files)} · ${percent(settled, files)}`
    : `${number(settled)} of ${number(files)} found so far`;
  return html`<progress max="${Math.max(files, 1)}" value="${settled}" aria-label="Progress of ${id}">${says}</progress> <span class="tally">${says}</span>`;
}

/** When a run is thought to end. */
export function etaOf({ state, eta_seconds, sealed }: Run): string {
  if (state !== "running") return "–";
  if (eta_seconds !== null) return duration(eta_seconds * 1_000);
  return sealed ? "unknown" : "still listing";
}
