/** A rate that is steady is measured over this time at least, in milliseconds. */
const WINDOW_MS = 30;
/** How much more than before twice as many streams must give, to be kept. */
const LEAST_GAIN = 1.25;
/** A process that is busy for more than this part of its time gets nothing more through further streams. */
const MOST_BUSY = 0.6;
/** After a growth that gave nothing, the next one is tried after this time, then after twice as long each time. */
const HOLD_MS = 1_000;
const MOST_HOLD_MS = 60_000;
/** A host sends in bursts if nothing came before this part of the looks. On a machine that is busy now and then nothing comes, too. */
const LEAST_GAPS = 0.5;
/** The rate of a host that sends in bursts, as servers do that limit a rate by the second, is measured over this time. */
const BURSTS_WINDOW_MS = 2_000;
/** When it is first tried whether fewer streams would do, in milliseconds: that costs half of the rate for a while. */
const FIRST_TRIAL_MS = 5_000;
/** What half as many streams must give at least of the rate, to be enough. */
const LEAST_KEPT = 0.9;

/** What is seen of a file that is being fetched. */
export interface StreamsSeen {
  /** On a clock that only goes forward, in milliseconds. */
  nowMs: number;
  /** Of the whole file so far. */
  receivedBytes: number;
  /** Streams that have got an answer and are not over. */
  open: number;
  /** Part of the time since the last look that the process had work, 0 to 1. */
  busy: number;
}

/** What a window has told. */
interface Seen {
  /** Bytes per ms. */
  rate: number;
  overMs: number;
  isBusy: boolean;
  nowMs: number;
}

/**
 * How many streams a file is fetched by: one at first, twice as many while that adds to the rate. Nothing is added where the
 * process itself is what limits the rate, as on the loopback interface: there further streams only cost processor time.
 *
 * A host that sends in bursts shows no rate in a short time. There four times as many follow unseen, and later it is tried whether
 * half as many would do.
 */
export class StreamCount {
  target = 1;
  #most: number;
  /** Streams before the change that is being judged, and what they gave: in bytes per ms, over so many ms. */
  #before: { target: number; rate: number; overMs: number } | undefined;
  #sinceMs: number;
  #sinceBytes = 0;
  #lastBytes = 0;
  /** Of the window: looks, those before which nothing had come, and the sum of how busy the process was. */
  #window = { looks: 0, gaps: 0, busy: 0 };
  #inBursts = false;
  /** Whether streams were added that have not all begun. */
  #begins = false;
  #changedMs: number;
  #windowMs = WINDOW_MS;
  #holdMs = HOLD_MS;
  #heldUntilMs = 0;

  /**
   * @param most streams at once.
   * @param begun when it begins, and what is here already.
   */
  constructor(most: number, { nowMs, receivedBytes }: Pick<StreamsSeen, "nowMs" | "receivedBytes">) {
    this.#most = most;
    this.#sinceBytes = receivedBytes;
    this.#lastBytes = receivedBytes;
    this.#sinceMs = nowMs;
    this.#changedMs = nowMs;
  }

  /** Looks at the rate, and changes the target where that tells something. */
  look({ nowMs, receivedBytes, open, busy }: StreamsSeen): void {
    this.#window.looks++;
    this.#window.busy += busy;
    if (receivedBytes === this.#lastBytes) this.#window.gaps++;
    this.#lastBytes = receivedBytes;
    if (this.#begins) {
      if (open < this.target) return;
      // The farther away the host, the longer until new streams are at their rate.
      this.#windowMs = Math.max(WINDOW_MS, 2 * (nowMs - this.#changedMs));
      this.#begins = false;
      this.#mark(nowMs);
      return;
    }
    const isTrial = this.#before !== undefined && this.#before.target > this.target;
    const windowMs =
      isTrial || (this.#inBursts && this.target >= this.#most)
        ? BURSTS_WINDOW_MS
        : Math.max(this.#windowMs, this.#before?.overMs ?? 0); // what is compared has been measured alike
    const { looks, gaps, busy: sum } = this.#window;
    const overMs = nowMs - this.#sinceMs;
    if (overMs < windowMs || looks < leastLooks(gaps, looks)) return;
    const rate = (receivedBytes - this.#sinceBytes) / overMs;
    const isBusy = sum / looks > MOST_BUSY;
    this.#mark(nowMs);
    if (gaps / looks >= LEAST_GAPS && receivedBytes > 0 && !isBusy) this.#inBursts = true;
    const seen = { rate, overMs, isBusy, nowMs };
    if (isTrial) this.#judgeFewer(rate, nowMs);
    else if (this.#inBursts) this.#growUnseen(seen);
    else this.#judgeGrowth(seen);
  }

  #judgeGrowth({ rate, overMs, isBusy, nowMs }: Seen): void {
    if (this.#before && rate < this.#before.rate * LEAST_GAIN) {
      this.#hold(nowMs);
      this.#aim(this.#before.target, nowMs);
      this.#before = undefined;
      return;
    }
    this.#before = undefined;
    if (nowMs < this.#heldUntilMs || this.target >= this.#most || isBusy || rate === 0) return;
    this.#before = { target: this.target, rate, overMs: Math.min(overMs, BURSTS_WINDOW_MS) };
    this.#aim(Math.min(this.target * 2, this.#most), nowMs);
  }

  #growUnseen({ rate, overMs, isBusy, nowMs }: Seen): void {
    this.#before = undefined;
    if (nowMs < this.#heldUntilMs) return;
    if (this.target < this.#most) {
      if (!isBusy) this.#aim(Math.min(this.target * 4, this.#most), nowMs);
      this.#heldUntilMs = nowMs + (this.target < this.#most ? 0 : FIRST_TRIAL_MS);
      return;
    }
    if (this.target === 1) return;
    this.#before = { target: this.target, rate, overMs: Math.min(overMs, BURSTS_WINDOW_MS) };
    this.#aim(this.target >> 1, nowMs);
  }

  #judgeFewer(rate: number, nowMs: number): void {
    const { target, rate: former } = this.#before as { target: number; rate: number };
    this.#before = undefined;
    if (rate >= former * LEAST_KEPT) {
      this.#most = this.target; // they do
      return;
    }
    this.#hold(nowMs);
    this.#aim(target, nowMs);
  }

  #hold(nowMs: number): void {
    this.#heldUntilMs = nowMs + this.#holdMs;
    this.#holdMs = Math.min(this.#holdMs * 2, MOST_HOLD_MS);
  }

  /** The host has refused a stream, or asked for less: no more than so many are tried from now on. */
  limit(most: number, nowMs: number): void {
    this.#most = Math.max(1, Math.min(most, this.#most));
    this.#before = undefined;
    this.#aim(Math.min(this.target, this.#most), nowMs);
  }

  #aim(target: number, nowMs: number): void {
    this.#begins = target > this.target;
    this.#changedMs = nowMs;
    this.target = target;
    this.#mark(nowMs);
  }

  #mark(nowMs: number): void {
    this.#sinceMs = nowMs;
    this.#sinceBytes = this.#lastBytes;
    this.#window = { looks: 0, gaps: 0, busy: 0 };
  }
}

/** Looks that tell something: one pause makes a short window a slow one, and its neighbour a fast one. */
function leastLooks(gaps: number, looks: number): number {
  return gaps === 0 ? 1 : gaps === looks ? 4 : 10;
}
