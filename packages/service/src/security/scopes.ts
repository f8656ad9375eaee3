/** What a token allows: each is apart from the others. */
export const SCOPES = ["read", "enqueue", "operate", "notify"] as const;
export type Scope = (typeof SCOPES)[number];

/** Ids of those who need no token: of nobody in particular on this machine, and on any. */
export const UNTOKENED = ["loopback", "anybody"];

/** Who asks. */
export interface Caller {
  /** Id of the token; `environment` for API_TOKEN, `proxy:` and the user that a proxy named, or one of {@link UNTOKENED}. */
  id: string;
  scopes: readonly Scope[];
  /** Whether browsers send by themselves what says so, for pages of other origins too. Default false. */
  isAmbient?: boolean;
}
