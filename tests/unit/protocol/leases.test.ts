import { TransferError } from "@drover/shared/errors";
import { type Admission, LEASE_MS } from "@drover/shared/protocol/admission";
import { Lease, Leases, now } from "@drover/worker/attempt/leases";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

beforeEach(() => void vi.useFakeTimers({ now: 1_700_000_000_000 }));
afterEach(() => void vi.useRealTimers());

type Renewal = Parameters<Admission["renew"]>[0];

/** Answers renewals. The real one is tested against Redis. */
function renewing(answer: (asked: Renewal) => boolean[] | Promise<boolean[]>) {
  const renew = vi.fn(async (asked: Renewal) => answer(asked));
  return { renew, leases: new Leases({ renew } as unknown as Admission) };
}

const granted = (asked: Renewal) => asked.map(() => true);

describe("a lease", () => {
  test("is trusted for less than its duration, counted from the request", () => {
    const askedAt = now();
    vi.advanceTimersByTime(4_000); // the answer was slow
    const lease = new Lease("key", "1", askedAt);
    expect(lease.trusted).toBe(true);
    vi.advanceTimersByTime(LEASE_MS - 4_000 - 1_000);
    expect(lease.trusted).toBe(false);
    expect(() => lease.check()).toThrow(expect.objectContaining({ class: "locked", permanent: false }));
  });

  test("is not trusted after the wall clock jumped ahead, as when the machine slept", () => {
    const lease = new Lease("key", "1", now());
    vi.setSystemTime(Date.now() + LEASE_MS);
    expect(lease.trusted).toBe(false);
  });

  test("is not trusted for longer when the wall clock was set back", () => {
    const lease = new Lease("key", "1", now());
    vi.setSystemTime(Date.now() - 86_400_000);
    vi.advanceTimersByTime(LEASE_MS);
    expect(lease.trusted).toBe(false);
  });

  test("that was aborted throws the reason and is not trusted any more", () => {
    const lease = new Lease("key", "1", now());
    const reason = new Error("stopping");
    lease.abort(reason);
    expect(lease.trusted).toBe(false);
    expect(() => lease.check()).toThrow(reason);
    expect(lease.signal.reason).toBe(reason);
  });

  test("whose file is given up stops the work, and can still settle the file", () => {
    const lease = new Lease("key", "1", now());
    lease.cancel(new TransferError("cancelled", "cancelled"));
    expect(lease.signal.aborted).toBe(true);
    expect(() => lease.check()).toThrow("cancelled");
    expect(lease.trusted).toBe(true);
    vi.advanceTimersByTime(LEASE_MS);
    expect(lease.trusted).toBe(false);
  });
});

describe("the leases of a process", () => {
  test("are renewed together in one call for as long as they are held", async () => {
    const { leases, renew } = renewing(granted);
    const held = ["a", "b", "c"].map((key) => leases.hold(key, `fence-${key}`, now()));
    await vi.advanceTimersByTimeAsync(LEASE_MS * 4);
    expect(held.every((lease) => lease.trusted && !lease.signal.aborted)).toBe(true);
    expect(renew.mock.calls.length).toBeLessThanOrEqual(14);
    expect(renew.mock.calls[0]?.[0]).toEqual(
      ["a", "b", "c"].map((key) => ({ lease: key, host: "", fence: `fence-${key}`, staged: "" })),
    );
    for (const lease of held) leases.drop(lease);
    const calls = renew.mock.calls.length;
    await vi.advanceTimersByTimeAsync(LEASE_MS);
    expect(renew.mock.calls.length).toBe(calls);
    leases.close();
  });

  test("stop only the work of the one that was lost", async () => {
    const { leases } = renewing((asked) => asked.map((each) => each.lease !== "b"));
    const [a, b] = ["a", "b"].map((key) => leases.hold(key, "1", now())) as [Lease, Lease];
    await vi.advanceTimersByTimeAsync(LEASE_MS / 2);
    expect(b.signal.aborted).toBe(true);
    expect(b.signal.reason).toMatchObject({ class: "locked" });
    expect(a.signal.aborted).toBe(false);
    leases.close();
  });

  test("are not lost when they end during a renewal", async () => {
    const { leases } = renewing(async (asked) => {
      leases.drop(lease);
      return asked.map(() => false);
    });
    const lease = leases.hold("a", "1", now());
    await vi.advanceTimersByTimeAsync(LEASE_MS / 2);
    expect(lease.signal.aborted).toBe(false);
    leases.close();
  });

  test("stop all work before somebody else may have them when Redis does not answer", async () => {
    for (const silent of [() => new Promise<never>(() => {}), () => Promise.reject(new Error("away"))]) {
      const { leases } = renewing(silent);
      const lease = leases.hold("a", "1", now());
      await vi.advanceTimersByTimeAsync(LEASE_MS - 1_000);
      expect(lease.trusted).toBe(false);
      expect(lease.signal.aborted).toBe(true);
      leases.close();
    }
  });

  test("are trusted again when Redis was away for a shorter time", async () => {
    let away = true;
    const { leases } = renewing((asked) => (away ? Promise.reject(new Error("away")) : granted(asked)));
    const lease = leases.hold("a", "1", now());
    await vi.advanceTimersByTimeAsync(15_000);
    away = false;
    await vi.advanceTimersByTimeAsync(30_000);
    expect(lease.trusted).toBe(true);
    expect(lease.signal.aborted).toBe(false);
    leases.close();
  });

  test("are extended from when the renewal was sent", async () => {
    const answer = Promise.withResolvers<boolean[]>();
    const never = new Promise<boolean[]>(() => {});
    let calls = 0;
    const { leases } = renewing(() => (calls++ === 0 ? answer.promise : never));
    const lease = leases.hold("a", "1", now());
    await vi.advanceTimersByTimeAsync(11_000); // the renewal is sent at some time in here
    await vi.advanceTimersByTimeAsync(12_000);
    answer.resolve([true]);
    await vi.advanceTimersByTimeAsync(0);
    await vi.advanceTimersByTimeAsync(LEASE_MS - 12_000);
    expect(lease.trusted).toBe(false);
    leases.close();
  });

  test("send the note of staged bytes with the next renewal, once", async () => {
    const { leases, renew } = renewing(granted);
    const lease = leases.hold("a", "1", now());
    lease.note = "staged";
    await vi.advanceTimersByTimeAsync(2_000);
    expect(renew.mock.calls).toEqual([[[{ lease: "a", host: "", fence: "1", staged: "staged" }]]]);
    leases.close();
  });

  test("keep a note when its renewal failed", async () => {
    let away = true;
    const { leases, renew } = renewing((asked) =>
      away ? Promise.reject(new Error("away")) : granted(asked),
    );
    const lease = leases.hold("a", "1", now());
    lease.note = "staged";
    await vi.advanceTimersByTimeAsync(1_500);
    away = false;
    await vi.advanceTimersByTimeAsync(12_000);
    expect(renew.mock.calls.slice(1).some(([asked]) => asked[0]?.staged === "staged")).toBe(true);
    leases.close();
  });

  test("are all stopped when the process stops, and so are later ones", () => {
    const { leases } = renewing(granted);
    const before = leases.hold("a", "1", now());
    const reason = new Error("stopping");
    leases.abortAll(reason);
    const after = leases.hold("b", "2", now());
    expect([before.signal.reason, after.signal.reason]).toEqual([reason, reason]);
    leases.close();
  });
});
