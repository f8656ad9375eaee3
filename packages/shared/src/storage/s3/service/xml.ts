/** An XML element: its name without prefix, its own text and its child elements. */
export interface XmlElement {
  name: string;
  text: string;
  children: XmlElement[];
}

const TOKEN =
  /<\?[^>]*\?>|<!--[\s\S]*?-->|<!\[CDATA\[([\s\S]*?)\]\]>|<(\/?)(?:[\w.-]+:)?([\w.-]+)(?:\s+[\w.:-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*\s*(\/?)>|([^<]+)/y;
const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
const MOST_DEPTH = 32;

/**
 * Parses the plain XML of S3's answers: elements, text and the five predefined entities. Refuses document types, unknown
 * entities, unclosed elements and anything behind the end, so that a cut-off answer never passes for a short one.
 *
 * @returns the root element.
 * @throws Error saying what is wrong.
 */
export function parseXml(xml: string): XmlElement {
  const root: XmlElement = { name: "", text: "", children: [] };
  const open = [root];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < xml.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(xml);
    if (!match) throw new Error(`not XML that S3 would send, at character ${at}`);
    const [, cdata, closing, name, empty, text] = match;
    const inside = open[open.length - 1] as XmlElement;
    if (text !== undefined || cdata !== undefined) {
      if (inside !== root) inside.text += cdata ?? decodeEntities(text as string);
      else if ((cdata ?? (text as string)).trim() !== "" && text !== "\ufeff")
        throw new Error("text outside of the document");
    } else if (name !== undefined && closing === "/") {
      if (open.length < 2 || inside.name !== name) throw new Error(`</${name}> closes nothing`);
      open.pop();
    } else if (name !== undefined) {
      if (inside === root && root.children.length > 0) throw new Error("two documents in one");
      const element: XmlElement = { name, text: "", children: [] };
      inside.children.push(element);
      if (empty === "" && open.push(element) > MOST_DEPTH) throw new Error("nested too deep");
    }
  }
  if (open.length > 1) throw new Error(`it ends within <${(open.at(-1) as XmlElement).name}>`);
  if (root.children.length === 0) throw new Error("it is empty");
  return root.children[0] as XmlElement;
}

/**
 * Replaces the entities of a text.
 *
 * @throws Error for an entity that XML does not predefine.
 */
export function decodeEntities(text: string): string {
  if (!text.includes("&")) return text;
  const plain = text.replaceAll("&quot;", '"'); // the common case: every ETag has two
  if (!plain.includes("&")) return plain;
  return text.replace(/&(#x[0-9a-f]{1,6}|#\d{1,7}|\w+);|&/gi, (whole, entity?: string) => {
    if (entity === undefined) throw new Error("a lone & in text");
    if (entity[0] === "#") {
      const code = /^#x/i.test(entity) ? Number.parseInt(entity.slice(2), 16) : Number(entity.slice(1));
      return String.fromCodePoint(code);
    }
    const char = ENTITIES[entity];
    if (char === undefined) throw new Error(`unknown entity ${whole}`);
    return char;
  });
}

/** Text of the first child of that name, or undefined. */
export function childText(element: XmlElement, name: string): string | undefined {
  return element.children.find((child) => child.name === name)?.text;
}
