/** HTML that is whole and safe: all that came from elsewhere in it is escaped. Only {@link html} makes it. */
export class Html {
  constructor(readonly text: string) {}
}

/** What may stand in a template. `undefined`, `null` and `false` stand for nothing. */
export type Content = Html | string | number | undefined | null | false | readonly Content[];

const ESCAPES: Record<string, string> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** A template of HTML. What is put into it is escaped, unless it is HTML already; attributes need their quotes. */
export function html(strings: TemplateStringsArray, ...values: Content[]): Html {
  const texts = strings.map((each, at) => (at < values.length ? each + textOf(values[at]) : each));
  return new Html(texts.join(""));
}

function textOf(value: Content): string {
  if (value === undefined || value === null || value === false) return "";
  if (value instanceof Html) return value.text;
  if (Array.isArray(value)) return value.map(textOf).join("");
  return String(value).replace(/[&<>"']/g, (character) => ESCAPES[character] as string);
}
