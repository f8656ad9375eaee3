import type { Caller } from "@drover/service/security/scopes";
import { type Content, type Html, html } from "./html.js";
import { BASE, BOARD_PATH, type Page } from "./page.js";

/** How often a page looks for news, in milliseconds. */
const REFRESH_MS = 3_000;

export interface Shell {
  title: string;
  /** What stands in `<main>`. */
  content: Html;
  /** Pages of the navigation. */
  pages: readonly Page[];
  /** Path of the shown page below {@link BASE}; undefined for none of them. */
  path?: string;
  /** Who is logged in; undefined for nobody. */
  caller?: Caller | undefined;
  /** Whether it looks for news. Default false. */
  isLive?: boolean;
}

/** A whole page: head, navigation, and what it is about. */
export function document({ title, content, pages, path, caller, isLive = false }: Shell): string {
  const refresh = isLive && html` data-refresh-ms="${REFRESH_MS}"`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${title} · Drover</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${BASE}/assets/dashboard.css">
<script type="module" src="${BASE}/assets/dashboard.js"></script>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<a class="brand" href="${BASE}/">Drover</a>
${caller && navigation(pages, path)}
${caller?.isAmbient && logOut(caller)}
</header>
<p id="freshness" role="status"></p>
<main id="main" tabindex="-1"${refresh}>
${content}
</main>
</body>
</html>
`.text;
}

function navigation(pages: readonly Page[], path: string | undefined): Html {
  const links = pages
    .filter(({ isInNavigation }) => isInNavigation)
    .map((page) => link(page.path, page.title, page.path === path));
  return html`<nav aria-label="Pages"><ul>${[...links, link(`${BOARD_PATH}/`, "Queue", false)]}</ul></nav>`;
}

function link(path: string, title: string, isShown: boolean): Html {
  return html`<li><a href="${BASE}${path}"${isShown && html` aria-current="page"`}>${title}</a></li>`;
}

function logOut({ id }: Caller): Content {
  if (id.startsWith("proxy:")) return html`<p class="who">${id.slice("proxy:".length)}</p>`;
  return html`<form method="post" action="${BASE}/logout"><button>Log out</button></form>`;
}

/** A page that says what is wrong, and what to do. @param status of the answer. */
export function errorContent(title: string, detail: string, status: number): Html {
  return html`<h1>${title}</h1><p class="error" role="alert">${detail}</p><p>${NEXT[status] ?? ""}</p><p><a href="${BASE}/">To the first page</a></p>`;
}

/** What to do about an error, by the status of the answer. */
const NEXT: Record<number, string> = {
  403: "Nothing was changed. Who logs in with a token of the scope that is named may do it.",
  404: "It may be gone meanwhile: the lists have what there is.",
  409: "Nothing was changed. Go back, look at how it stands now, and try again.",
  422: "Nothing was changed. Go back, look at what was asked for, and try again.",
  429: "Wait a moment, then try again.",
  503: "It is tried again by itself where a page was asked for. What was to be changed has to be asked for once more.",
};
