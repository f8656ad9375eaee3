/** What a token allows: each is apart from the others. */
export const SCOPES = ["read", "enqueue", "operate", "notify"] as const;
export type Scope = (typeof SCOPES)[number];

/** Who asks. */
export interface Caller {
  /** Id of the token; `environment` for API_TOKEN, `loopback` for nobody in particular on this machine. */
  id: string;
  scopes: readonly Scope[];
}
