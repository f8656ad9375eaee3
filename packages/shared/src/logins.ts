/** User and password for a host. */
export interface Login {
  /** In lower case, without a port; undefined for every host that has none of its own. */
  host?: string | undefined;
  login: string;
  password: string;
}

/** Users and passwords by host. The first of a host counts. */
export class Logins {
  readonly #byHost = new Map<string | undefined, Login>();

  constructor(readonly all: readonly Login[]) {
    for (const each of all) if (!this.#byHost.has(each.host)) this.#byHost.set(each.host, each);
  }

  /** Adds user and password of its host to an http(s) URL that has none. Any other text stays as it is. */
  addTo(location: string): string {
    if (!/^https?:\/\//i.test(location) || !URL.canParse(location)) return location;
    const url = new URL(location);
    if (url.username !== "" || url.password !== "") return location;
    const found = this.#byHost.get(url.hostname.replace(/^\[|\]$/g, "")) ?? this.#byHost.get(undefined);
    if (!found) return location;
    url.username = encodeURIComponent(found.login);
    url.password = encodeURIComponent(found.password);
    return url.href;
  }
}
