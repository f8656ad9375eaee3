import { type Html, html } from "../html.js";

const WIDTH = 160;
const HEIGHT = 32;
/** Samples further apart than this, in milliseconds, are not joined: nobody looked in between. */
const GAP_MS = 30_000;

/** A number at a moment (Unix ms). */
export interface Sample {
  atMs: number;
  value: number;
}

/**
 * A small line of the last minutes. It is an ornament: what it shows is said beside it.
 *
 * @param spanMs time that it covers, up to now.
 */
export function sparkline(samples: readonly Sample[], spanMs: number): Html {
  const nowMs = samples.at(-1)?.atMs ?? 0;
  const most = Math.max(...samples.map(({ value }) => value), 1e-9);
  const place = ({ atMs, value }: Sample) => {
    const x = WIDTH * (1 - (nowMs - atMs) / spanMs);
    return `${x.toFixed(1)},${(HEIGHT - 2 - (HEIGHT - 4) * (value / most)).toFixed(1)}`;
  };
  const lines: Sample[][] = [];
  for (const sample of samples) {
    const line = lines.at(-1);
    const last = line?.at(-1);
    if (line && last && sample.atMs - last.atMs <= GAP_MS) line.push(sample);
    else lines.push([sample]);
  }
  return html`<svg class="spark" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" preserveAspectRatio="none" aria-hidden="true"><path class="base" d="M0 ${HEIGHT - 1}H${WIDTH}"/>${lines.map((line) => html`<polyline points="${line.map(place).join(" ")}"/>`)}</svg>`;
}
