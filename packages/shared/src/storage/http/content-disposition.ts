/** Parameters of a header: `name=token`, `name="quoted string"`. */
const PARAMETER = /;\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))/gs;
/** What no name may have: control characters, and those that change the direction of what is read. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/**
 * The file name of a Content-Disposition (RFC 6266, RFC 5987): that of `filename*`, where it can be read, else that of
 * `filename`. Only its last component counts, be it behind `/` or `\`, and characters that are not seen are taken out.
 *
 * @param header as it came, its bytes as Latin-1.
 * @returns undefined if there is none that a file can have: one of dots alone, or with a dot at its start, is none.
 */
export function fileNameOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  let plain: string | undefined;
  let extended: string | undefined;
  for (const [, name = "", quoted, token] of header.matchAll(PARAMETER)) {
    const value = quoted?.replace(/\\(.)/gs, "$1") ?? token ?? "";
    if (/^filename$/i.test(name)) plain ??= utf8Of(value);
    if (/^filename\*$/i.test(name)) extended ??= decodeExtended(value);
  }
  return safeName(extended) ?? safeName(plain);
}

/** Many servers send UTF-8, which the standard does not allow here; what is none is Latin-1. */
function utf8Of(value: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(value, "latin1"));
  } catch {
    return value;
  }
}

/** `UTF-8'en'%e2%82%ac.txt` or `ISO-8859-1''%a3.txt`; undefined for what is not so. */
function decodeExtended(value: string): string | undefined {
  const match = /^(utf-8|iso-8859-1)'[^']*'((?:[^%]|%[0-9a-f]{2})*)$/i.exec(value);
  if (!match) return undefined;
  const bytes = Buffer.from(
    (match[2] as string).replace(/%([0-9a-f]{2})/gi, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    ),
    "latin1",
  );
  if (match[1]?.toLowerCase() !== "utf-8") return bytes.toString("latin1");
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function safeName(given: string | undefined): string | undefined {
  const name = given?.split(/[/\\]/).at(-1)?.replace(UNSEEN, "").trim();
  return name === undefined || name === "" || name.startsWith(".") ? undefined : name;
}
