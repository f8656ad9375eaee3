// @ts-check
/**
 * Keeps the page fresh: asks for its content again every few seconds and changes what has changed, so that focus, what is
 * unfolded and what is selected stay. While that fails, the page keeps what it has and says how old it is.
 */

/** Most time between two tries, in milliseconds. */
const MOST_BETWEEN_MS = 15_000;
/** A server that does not answer for so long, in milliseconds, is not waited for any longer. */
const PATIENCE_MS = 15_000;

const main = /** @type {HTMLElement} */ (document.querySelector("main"));
const freshness = /** @type {HTMLElement} */ (document.querySelector("#freshness"));
const everyMs = Number(main.dataset.refreshMs);

let freshAtMs = Date.now();
let failures = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** @type {string | undefined} Why the last try failed. */
let wrong;

async function refresh() {
  clearTimeout(timer);
  try {
    const response = await fetch(location.href, {
      headers: { "X-Fragment": "1" },
      signal: AbortSignal.timeout(PATIENCE_MS),
      cache: "no-store",
    });
    if (response.status === 401) throw new Error("you are logged out: load the page again to log in");
    const text = await response.text();
    if (!response.ok) throw new Error(detailOf(text) ?? `the server answered ${response.status}`);
    morph(main, new DOMParser().parseFromString(`<main>${text}</main>`, "text/html").querySelector("main"));
    freshAtMs = Date.now();
    failures = 0;
    wrong = undefined;
  } catch (error) {
    failures++;
    wrong = error instanceof Error && error.name === "Error" ? error.message : "the server does not answer";
  }
  tellFreshness();
  schedule();
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
  const time = new Date(freshAtMs).toLocaleTimeString();
  const seconds = Math.round((Date.now() - freshAtMs) / 1000);
  freshness.textContent = `This is as of ${time}, ${seconds} s ago: ${wrong}.`;
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

if (everyMs > 0) {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else refresh();
  });
  addEventListener("online", refresh);
  setInterval(() => wrong !== undefined && !document.hidden && tellFreshness(), 5_000);
  schedule();
}
