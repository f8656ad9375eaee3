/** Characters that roff, or a terminal's font, would take for others. */
const NAMED: Record<string, string> = {
  "\\": "\\e",
  "-": "\\-",
  "'": "\\(aq",
  "`": "\\(ga",
  "^": "\\(ha",
  "~": "\\(ti",
  '"': "\\(dq",
};

/** Text of a manual page that shows as it is. */
export function roff(text: string): string {
  return text
    .replace(/\s+/g, " ")
    .replace(/[\\\-'`^~"]/g, (sign) => NAMED[sign] as string)
    .replace(/[^\x20-\x7e]/gu, (sign) => {
      const code = sign.codePointAt(0) as number;
      return `\\[u${code.toString(16).toUpperCase().padStart(4, "0")}]`;
    })
    .replace(/^\./, "\\&.");
}

/** Lines of a source are no longer than this, where they need not be. */
const LINE_COLUMNS = 80;

/** Text of a paragraph, in lines. */
export function prose(text: string): string {
  const lines = [""];
  for (const word of roff(text).split(" ")) {
    const line = lines.at(-1) as string;
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= LINE_COLUMNS) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word.startsWith(".") ? `\\&${word}` : word);
  }
  return lines.join("\n");
}

/** Text in bold, or as a placeholder. */
export const bold = (text: string): string => (text === "" ? "" : `\\fB${roff(text)}\\fR`);
export const italic = (text: string): string => (text === "" ? "" : `\\fI${roff(text)}\\fR`);

/** A paragraph with a term before it. @param term roff. */
export function tagged(term: string, text: string): string {
  return `.TP\n${term}\n${prose(text)}`;
}

/** A heading of a page, and of a part of it. */
export const section = (title: string): string => `.SH ${roff(title.toUpperCase())}`;
export const subsection = (title: string): string => `.SS ${roff(title)}`;

/** A command line as it is typed. */
export function commandLine(text: string): string {
  return `.nf\n.RS\n${roff(text)}\n.RE\n.fi`;
}
