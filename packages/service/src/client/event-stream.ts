/** A server-sent event. */
export interface ServerEvent {
  event: string;
  data: string;
  /** undefined where it has none of its own. */
  id: string | undefined;
}

/**
 * Reads server-sent events, as the HTML standard has them: https://html.spec.whatwg.org/multipage/server-sent-events.html.
 * An event without its end is dropped.
 */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + decoder.decode(value, { stream: true })).split(/\r\n\r\n|\n\n|\r\r/);
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const event = parse(block);
        if (event) yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => {}); // it is broken, or read to its end
  }
}

/** @returns undefined for comments alone. */
function parse(block: string): ServerEvent | undefined {
  const found: ServerEvent = { event: "message", data: "", id: undefined };
  const data: string[] = [];
  for (const line of block.split(/\r\n|\n|\r/)) {
    const [, name = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
    if (name === "event") found.event = value;
    else if (name === "id") found.id = value;
    else if (name === "data") data.push(value);
  }
  return data.length === 0 ? undefined : { ...found, data: data.join("\n") };
}
