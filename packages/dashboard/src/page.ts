import type { ApiAnswer, ApiCall } from "@drover/service/http/in-process";
import type { Caller } from "@drover/service/security/scopes";
import type { Html } from "./html.js";

/** Where the pages are. */
export const BASE = "/dashboard";
/** What the parts of the dashboard are called in its navigation, and where Bull Board is below {@link BASE}. */
export const BOARD_PATH = "/queues";

type Query = Record<string, string>;

/** A request for a page: who asks for what, and how the API is asked for it. */
export interface Asked {
  caller: Caller;
  /** Of the path. */
  params: Record<string, string>;
  query: Query;
  /** What a route answers with. @throws ApiError where that is an error. */
  get(path: string, query?: Query): Promise<ApiAnswer["body"]>;
  /** Ids of the audit entries of what was changed by now; undefined for one that is not written yet. */
  entries: (string | undefined)[];
  /** Asks a route to change something. @throws ApiError. */
  change(method: "POST" | "PUT" | "DELETE", path: string, call?: ApiCall): Promise<ApiAnswer["body"]>;
}

/** One page. It shows what the API answers, and knows nothing else. */
export interface Page {
  /** Below {@link BASE}, as in Express: `/runs/:run`. */
  path: string;
  title: string;
  /** Whether it is in the navigation. */
  isInNavigation: boolean;
  /** Whether it looks for news. Default true: false where what it shows is dear to ask for. */
  isLive?: boolean;
  /** What stands in `<main>`, with a heading of the first level. */
  render(asked: Asked): Promise<Html>;
  /** What its forms do. Default: nothing. */
  actions?: Action[];
}

/** What a form of a page does: it is posted to this path. */
export interface Action {
  /** Below {@link BASE}, as in Express. */
  path: string;
  /** What stands in `<main>` after it, or the path below {@link BASE} that shows what came of it. */
  run(asked: Asked, form: URLSearchParams): Promise<Html | { goTo: string }>;
}

/** An error that the API answered with. */
export class ApiError extends Error {
  override name = "ApiError";

  /** @param detail one line for people, without secrets. */
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
  ) {
    super(detail);
  }
}
