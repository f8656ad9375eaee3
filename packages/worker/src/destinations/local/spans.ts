/** Bytes of a file: from `startByte` up to, but not including, `endByte`. */
export interface Span {
  startByte: number;
  endByte: number;
}

/** Spans in their order, those that touch as one. */
export function merged(spans: Iterable<Span>): Span[] {
  const sorted = [...spans].filter(({ startByte, endByte }) => endByte > startByte);
  sorted.sort((a, b) => a.startByte - b.startByte);
  const whole: Span[] = [];
  for (const { startByte, endByte } of sorted) {
    const last = whole.at(-1);
    if (last && startByte <= last.endByte) last.endByte = Math.max(last.endByte, endByte);
    else whole.push({ startByte, endByte });
  }
  return whole;
}

/** What is missing of a file of that size, in its order. @param spans merged. */
export function gapsIn(spans: readonly Span[], sizeBytes: number): Span[] {
  const gaps: Span[] = [];
  let at = 0;
  for (const { startByte, endByte } of spans) {
    if (startByte > at) gaps.push({ startByte: at, endByte: startByte });
    at = Math.max(at, endByte);
  }
  if (at < sizeBytes) gaps.push({ startByte: at, endByte: sizeBytes });
  return gaps;
}
