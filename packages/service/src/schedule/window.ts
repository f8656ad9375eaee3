const MINUTE_MS = 60_000;
/** A window opens and closes each day, also where the clocks are set by an hour or two. */
const MOST_MINUTES = 26 * 60;

/** The part of each day in which files are dispatched: minutes of the day at which it opens and closes, by the clocks of a zone. */
export interface DailyWindow {
  fromMinute: number;
  /** Less than `fromMinute` where it closes on the next day; never the same. */
  toMinute: number;
  /** IANA name. */
  timeZone: string;
}

/** Whether a window is open, or since when (Unix ms) it has been closed and when it opens again. */
export type WindowState = { isOpen: true } | { isOpen: false; sinceMs: number; untilMs: number };

/** @param nowMs Unix ms. */
export function windowState(window: DailyWindow, nowMs: number): WindowState {
  const clock = new Intl.DateTimeFormat("en", {
    timeZone: window.timeZone,
    hour: "numeric",
    minute: "numeric",
    hourCycle: "h23",
  });
  const isOpenAt = (ms: number) => isWithin(window, minuteOfDay(clock, ms));
  // Zones are whole minutes away from UTC, so that it opens and closes with one.
  const minuteMs = Math.floor(nowMs / MINUTE_MS) * MINUTE_MS;
  if (isOpenAt(minuteMs)) return { isOpen: true };
  let sinceMs = minuteMs;
  let untilMs = minuteMs + MINUTE_MS;
  const most = MOST_MINUTES * MINUTE_MS;
  while (!isOpenAt(sinceMs - MINUTE_MS) && minuteMs - sinceMs < most) sinceMs -= MINUTE_MS;
  while (!isOpenAt(untilMs) && untilMs - minuteMs < most) untilMs += MINUTE_MS;
  return { isOpen: false, sinceMs, untilMs };
}

/** A window as it is written in SYNC_WINDOW. */
export function windowText({ fromMinute, toMinute }: DailyWindow): string {
  return `${timeText(fromMinute)}-${timeText(toMinute)}`;
}

function isWithin({ fromMinute, toMinute }: DailyWindow, minute: number): boolean {
  if (fromMinute < toMinute) return minute >= fromMinute && minute < toMinute;
  return minute >= fromMinute || minute < toMinute;
}

function minuteOfDay(clock: Intl.DateTimeFormat, ms: number): number {
  let minute = 0;
  for (const { type, value } of clock.formatToParts(ms)) {
    if (type === "hour") minute += Number(value) * 60;
    if (type === "minute") minute += Number(value);
  }
  return minute;
}

function timeText(minute: number): string {
  const two = (number: number) => String(number).padStart(2, "0");
  return `${two(Math.floor(minute / 60))}:${two(minute % 60)}`;
}
