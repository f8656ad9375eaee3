import { type Content, type Html, html } from "../html.js";

export interface DataTable {
  /** What it is a table of, for who does not see it. */
  label: string;
  /** Headings of the columns; those of numbers begin with `#`, which is not shown. */
  columns: string[];
  /** Rows, each a `<tr>` with a `data-key`. */
  rows: Content;
}

/** A table that can be scrolled sideways where it is wider than the screen, by keys too. */
export function dataTable({ label, columns, rows }: DataTable): Html {
  return html`<div class="scrolled" role="region" aria-label="${label}" tabindex="0"><table>
<thead><tr>${columns.map(heading)}</tr></thead>
<tbody>${rows}</tbody>
</table></div>`;
}

function heading(column: string): Html {
  if (column.startsWith("#")) return html`<th scope="col" class="number">${column.slice(1)}</th>`;
  return html`<th scope="col">${column}</th>`;
}
