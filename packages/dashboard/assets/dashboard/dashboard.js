// @ts-check
/**
 * Keeps the page fresh: asks for its content again every few seconds and changes what has changed, so that focus, what is
 * unfolded and what is selected stay. While that fails, the page keeps what it has and says how old it is. A page of a run
 * also lists the files as they end. In a hidden tab it asks for nothing.
 */

/** Most time between two tries, in milliseconds. */
const MOST_BETWEEN_MS = 15_000;
/** A server that does not answer for so long, in milliseconds, is not waited for any longer. */
const PATIENCE_MS = 15_000;

const main = /** @type {HTMLElement} */ (document.querySelector("main"));
const freshness = /** @type {HTMLElement} */ (document.querySelector("#freshness"));
const everyMs = Number(main.dataset.refreshMs);

/** Files that are listed as they end, and time between two changes of that list, in milliseconds. */
const MOST_LISTED = 100;
const LIST_EVERY_MS = 250;
/** Time until events are asked for again that were refused, in milliseconds. */
const EVENTS_AGAIN_MS = 10_000;

let freshAtMs = Date.now();
let failures = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** @type {string | undefined} Why the last try failed. */
let wrong;

let isAsking = false;

async function refresh() {
  clearTimeout(timer);
  if (isAsking) return;
  isAsking = true;
  try {
    const response = await fetch(location.href, {
      headers: { "X-Fragment": "1" },
      signal: AbortSignal.timeout(PATIENCE_MS),
      cache: "no-store",
    });
    if (response.status === 401) throw new Error("you are logged out: load the page again to log in");
    const text = await response.text();
    if (!response.ok) throw new Error(detailOf(text) ?? `the server answered ${response.status}`);
    keepFocus(() =>
      morph(main, new DOMParser().parseFromString(`<main>${text}</main>`, "text/html").querySelector("main")),
    );
    freshAtMs = Date.now();
    failures = 0;
    wrong = undefined;
  } catch (error) {
    failures++;
    wrong = error instanceof Error && error.name === "Error" ? error.message : "the server does not answer";
  }
  isAsking = false;
  tellFreshness();
  follow();
  schedule();
}

/** @param {() => void} change of the page: an element that is moved by it loses the focus. */
function keepFocus(change) {
  const focused = document.activeElement;
  change();
  if (!(focused instanceof HTMLElement) || focused === document.activeElement || focused === document.body)
    return;
  if (focused.isConnected) focused.focus({ preventScroll: true });
  else main.focus({ preventScroll: true });
}

/** @param {string} text of an error @returns {string | undefined} */
function detailOf(text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return undefined;
  }
}

function schedule() {
  clearTimeout(timer);
  if (document.hidden) return;
  timer = setTimeout(refresh, Math.min(everyMs * 2 ** failures, MOST_BETWEEN_MS));
}

function tellFreshness() {
  document.body.classList.toggle("stale", wrong !== undefined);
  if (wrong === undefined) {
    if (freshness.textContent !== "") freshness.textContent = "";
    return;
  }
  const time = new Date(freshAtMs).toLocaleTimeString([], {
    hour: "2-digit",
    minute: "2-digit",
    hour12: false,
  });
  const seconds = Math.round((Date.now() - freshAtMs) / 1000);
  freshness.textContent = wrong.startsWith("Redis is away")
    ? `Redis unreachable: this is as of ${time}, ${seconds} s ago.`
    : `This is as of ${time}, ${seconds} s ago: ${wrong}.`;
}

/**
 * Makes an element like another one, touching nothing that is alike already. Children with a key are known again wherever
 * they are; the others by their places.
 *
 * @param {Element} from
 * @param {Element | null} to
 */
function morph(from, to) {
  if (to === null || from.isEqualNode(to)) return;
  morphAttributes(from, to);
  if (from.hasAttribute("data-keep")) return; // its content is made here
  const wantedNodes = [...to.childNodes];
  const wantedKeys = new Set(wantedNodes.map(keyOf));
  /** @type {Map<string | undefined, Node>} */
  const known = new Map([...from.childNodes].map((child) => [keyOf(child), child]));
  known.delete(undefined);
  let at = from.firstChild;
  let left = from.childNodes.length;
  const next = () => {
    at = at?.nextSibling ?? null;
    left--;
  };
  const remove = () => {
    const gone = at;
    next();
    gone?.remove();
  };
  for (const [index, wanted] of wantedNodes.entries()) {
    const mine = known.get(keyOf(wanted));
    const isTooMuch = (/** @type {Node} */ node) => {
      if (keyOf(node) !== undefined) return !wantedKeys.has(keyOf(node));
      return mine !== undefined || (left > wantedNodes.length - index && !isAlike(node, wanted));
    };
    // What is not wanted any more goes first, so that what stays need not move.
    while (at !== null && at !== mine && isTooMuch(at)) remove();
    const same = mine ?? (at !== null && isAlike(at, wanted) ? at : undefined);
    if (same === undefined) {
      from.insertBefore(document.importNode(wanted, true), at);
      continue;
    }
    if (same === at) next();
    else from.insertBefore(same, at);
    if (same instanceof Element) morph(same, /** @type {Element} */ (wanted));
    else if (same.nodeValue !== wanted.nodeValue) same.nodeValue = wanted.nodeValue;
  }
  while (at !== null) remove();
}

/**
 * What somebody unfolded, typed or ticked is theirs.
 *
 * @param {Element} from
 * @param {Element} to
 */
function morphAttributes(from, to) {
  if (from === main) return;
  const own = from instanceof HTMLDetailsElement ? ["open"] : ["value", "checked", "selected"];
  const isOwn = (/** @type {string} */ name) =>
    own.includes(name) && /^(details|input|option|select|textarea)$/i.test(from.tagName);
  for (const { name, value } of to.attributes)
    if (!isOwn(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
  for (const { name } of [...from.attributes])
    if (!isOwn(name) && !to.hasAttribute(name)) from.removeAttribute(name);
}

/** @param {Node} node @returns {string | undefined} */
function keyOf(node) {
  return node instanceof Element ? (node.getAttribute("data-key") ?? (node.id || undefined)) : undefined;
}

/** @param {Node} one @param {Node} other */
function isAlike(one, other) {
  return one.nodeName === other.nodeName && keyOf(one) === undefined && keyOf(other) === undefined;
}

/** @type {EventSource | undefined} */
let events;
let eventsAtMs = 0;
/** @type {HTMLElement[]} Files that have ended and are not listed yet. */
let ended = [];

/** Follows the events that the page names, and none where it names none any more. */
function follow() {
  const list = main.querySelector("[data-events]");
  const url = list instanceof HTMLElement && !document.hidden ? list.dataset.events : undefined;
  if (url === undefined) {
    events?.close();
    events = undefined;
    return;
  }
  if (events !== undefined && events.readyState !== EventSource.CLOSED) return;
  if (Date.now() - eventsAtMs < EVENTS_AGAIN_MS) return;
  eventsAtMs = Date.now();
  events = new EventSource(url);
  events.addEventListener("file", ({ data }) => {
    if (ended.length === 0) setTimeout(listEnded, LIST_EVERY_MS);
    ended.unshift(itemOf(JSON.parse(data)));
    ended.length = Math.min(ended.length, MOST_LISTED);
  });
  events.addEventListener("progress", refresh);
  events.addEventListener("end", () => {
    events?.close();
    eventsAtMs = 0;
    refresh();
  });
}

function listEnded() {
  const list = main.querySelector("#live");
  list?.prepend(...ended);
  ended = [];
  while (list !== null && list.children.length > MOST_LISTED) list.lastElementChild?.remove();
}

/**
 * @param {{ source: string | null, destination: string, outcome: string, error: { message: string } | null }} file
 * @returns {HTMLElement}
 */
function itemOf({ source, destination, outcome, error }) {
  const item = document.createElement("li");
  const name = document.createElement("span");
  name.className = `outcome ${outcome}`;
  name.textContent = outcome;
  item.append(name, ` ${source ?? destination}`);
  if (error !== null) {
    const why = document.createElement("small");
    why.textContent = error.message;
    item.append(" ", why);
  }
  return item;
}

if (everyMs > 0) {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(timer);
      eventsAtMs = 0;
      follow();
    } else refresh();
  });
  follow();
  addEventListener("online", refresh);
  setInterval(() => wrong !== undefined && !document.hidden && tellFreshness(), 5_000);
  schedule();
}
