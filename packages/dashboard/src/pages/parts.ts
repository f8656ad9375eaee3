import { type Content, type Html, html } from "../html.js";
import { BASE } from "../page.js";

/** A column of a table. */
export interface Column {
  title: string;
  /** Whether it holds numbers, which are aligned. Default false. */
  isNumber?: boolean;
}

/** A row: its cells, the first of which names it. */
export interface Row {
  /** Unique in the table: it stays the same element when the page is refreshed. */
  key: string;
  cells: Content[];
}

/**
 * A table, whose rows are stacked where the screen is narrow.
 *
 * @param caption what it lists, for those who do not see what is around it.
 */
export function table(caption: string, columns: Column[], rows: Row[]): Html {
  const classOf = (column: Column | undefined) => column?.isNumber && html` class="number"`;
  const head = columns.map((column) => html`<th scope="col"${classOf(column)}>${column.title}</th>`);
  const body = rows.map(({ key, cells: [name, ...cells] }) => {
    const rest = cells.map((cell, at) => {
      const column = columns[at + 1];
      return html`<td data-label="${column?.title}"${classOf(column)}><div>${cell}</div></td>`;
    });
    return html`<tr data-key="${key}"><th scope="row"><div>${name}</div></th>${rest}</tr>`;
  });
  return html`<table><caption class="hidden">${caption}</caption>
<thead><tr>${head}</tr></thead>
<tbody>${body}</tbody></table>`;
}

/** What a button does after it was asked whether that is meant. */
export interface Step {
  /** Unique on the page. */
  id: string;
  /** What is pressed first: it says how much is meant. */
  label: string;
  /** What will happen. */
  explains: Content;
  /** What is pressed then. */
  confirms: string;
  /** Path below {@link BASE} that the form is posted to. */
  path: string;
  /** Hidden fields; those that are undefined are left out. */
  fields?: Record<string, string | undefined>;
  /** Whether something ends by it that is not easily had back. Default false. */
  isDangerous?: boolean;
  /** Fields to fill in. Default: none. */
  inputs?: Content;
}

/** A button that says what it will do, and does it when it is confirmed. It needs no script. */
export function step({ id, label, explains, confirms, path, fields = {}, isDangerous, inputs }: Step): Html {
  return html`<details class="step${isDangerous && " danger"}" id="${id}"><summary>${label}</summary>
<form method="post" action="${BASE}${path}">${hidden(fields)}<p>${explains}</p>${inputs}<button>${confirms}</button></form></details>`;
}

/** Hidden fields of a form; those that are undefined are left out. */
export function hidden(fields: Record<string, string | undefined>): Html[] {
  const given = Object.entries(fields).filter((pair): pair is [string, string] => pair[1] !== undefined);
  return given.map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`);
}

/** A path below {@link BASE} with a query; what is undefined is left out. */
export function link(path: string, query: Record<string, string | undefined> = {}): string {
  const given = Object.entries(query).filter((pair): pair is [string, string] => pair[1] !== undefined);
  return BASE + path + (given.length === 0 ? "" : `?${new URLSearchParams(given)}`);
}

/** What came of an action, and where to look at it. */
export function result(title: string, says: Content, links: [path: string, text: string][]): Html {
  return html`<h1>${title}</h1><p>${says}</p>
<ul class="next">${links.map(([path, text]) => html`<li><a href="${BASE}${path}">${text}</a></li>`)}</ul>`;
}

/** A mark of a state: a shape of its own beside its text, so that colour is never all that tells it. */
export function badge(state: State, text: string): Html {
  return html`<span class="badge ${state}">${mark(state)}${text}</span>`;
}

export type State = "ok" | "warning" | "critical" | "busy" | "idle";

const SHAPES: Record<State, string> = {
  ok: "M3 8.5 6.5 12 13 4.5",
  warning: "M8 3v6M8 12v.5",
  critical: "M4 4l8 8M12 4l-8 8",
  busy: "M5 3.5v9l7-4.5z",
  idle: "M5.5 3.5v9M10.5 3.5v9",
};

/** The shape alone, which means nothing to those who do not see it. */
export function mark(state: State): Html {
  return html`<svg class="mark" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d="${SHAPES[state]}"/></svg>`;
}

/** How a run stands, as a mark. A run is `ok` only when it has ended and nothing failed. */
export function runBadge(state: string, failures: number): Html {
  if (state === "running") return badge("busy", "running");
  if (state === "done") return failures > 0 ? badge("warning", "done, with failures") : badge("ok", "done");
  return state === "interrupted" ? badge("critical", "interrupted") : badge("idle", state);
}
