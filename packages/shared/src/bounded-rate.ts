/** Time in which a message of one kind is said once, in milliseconds. */
const EVERY_MS = 10_000;
/** Kinds that are told apart; all others are one. */
const MOST_KINDS = 20;

/**
 * Says messages of one kind, which differ in numbers and ids alone, once in ten seconds: what goes wrong for every file
 * must not fill a disk with words. The next one tells how many were left out.
 */
export function atBoundedRate(say: (message: string) => void): (message: string) => void {
  const kinds = new Map<string, { saidMs: number; unsaid: number }>();
  return (message) => {
    const nowMs = performance.now();
    let kind = message.replace(/[\w-]*\d[\w-]*/g, "#");
    if (!kinds.has(kind)) {
      for (const [each, { saidMs }] of kinds) if (nowMs - saidMs > EVERY_MS) kinds.delete(each);
      if (kinds.size >= MOST_KINDS) kind = "";
    }
    const known = kinds.get(kind);
    if (known && nowMs - known.saidMs < EVERY_MS) {
      known.unsaid++;
      return;
    }
    kinds.set(kind, { saidMs: nowMs, unsaid: 0 });
    say(known && known.unsaid > 0 ? `${message} (and ${known.unsaid} more like it)` : message);
  };
}
