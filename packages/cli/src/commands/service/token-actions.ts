import { AuditLog } from "@drover/service/security/audit";
import { SCOPES, type Scope } from "@drover/service/security/scopes";
import { type Token, TokenStore } from "@drover/service/security/tokens";
import { SettingsError } from "@drover/shared/errors";
import { EXIT } from "../../exit.js";
import { printable } from "../../output.js";
import type { Settings } from "../../settings/settings.js";
import { parseDuration } from "../../settings/units.js";
import { withEngine } from "../engine.js";
import type { OutputFlags } from "../options.js";

export interface CreateFlags {
  scopes: string;
  expires?: string;
}

/** What the audit log calls whoever uses this. */
const WHO = "command line";

type Place = Pick<Settings, "redis" | "state-dir">;

/** `drover token create`: prints the token, which nobody can look up later. */
export async function create(name: string, flags: CreateFlags, place: Place): Promise<number> {
  const scopes = flags.scopes.split(",").map(scopeOf);
  const lifeMs = flags.expires === undefined ? undefined : parseDuration("--expires", flags.expires);
  return await withStore(place, async (store, audit) => {
    const { id, token } = await store.create(name, [...new Set(scopes)], lifeMs);
    await audit.record({ who: WHO, what: "token create", on: id, changed: 1 });
    process.stdout.write(`${token}\n`);
    return EXIT.ok;
  });
}

/** `drover token list`. */
export async function list(flags: OutputFlags, place: Place): Promise<number> {
  return await withStore(place, async (store) => {
    const tokens = (await store.list()).map(shown);
    if (flags.json) process.stdout.write(`${JSON.stringify(tokens, null, 2)}\n`);
    else if (tokens.length === 0) process.stdout.write("no tokens\n");
    else
      for (const { id, name, scopes, created, expires, last_used } of tokens)
        process.stdout.write(
          `${id}  ${scopes.join(",")}  created ${created}  ${expires === null ? "never expires" : `expires ${expires}`}  ` +
            `${last_used === null ? "never used" : `last used ${last_used}`}  ${printable(name)}\n`,
        );
    return EXIT.ok;
  });
}

/** `drover token revoke`. */
export async function revoke(id: string, place: Place): Promise<number> {
  return await withStore(place, async (store, audit) => {
    await store.revoke(id);
    await audit.record({ who: WHO, what: "token revoke", on: id, changed: 1 });
    process.stdout.write(`token ${id} is revoked\n`);
    return EXIT.ok;
  });
}

function withStore(
  place: Place,
  use: (store: TokenStore, audit: AuditLog) => Promise<number>,
): Promise<number> {
  return withEngine(
    place,
    async ({ redis, keys }) => await use(new TokenStore(redis, keys), new AuditLog(redis, keys)),
  );
}

function scopeOf(text: string): Scope {
  const scope = SCOPES.find((each) => each === text.trim());
  if (scope !== undefined) return scope;
  throw new SettingsError(`--scopes must be some of ${SCOPES.join(", ")}, not ${JSON.stringify(text)}`);
}

function shown({ id, name, scopes, createdMs, expiresMs, usedMs }: Token) {
  const time = (ms: number | undefined) => (ms === undefined ? null : new Date(ms).toISOString());
  return {
    id,
    name,
    scopes,
    created: time(createdMs) as string,
    expires: time(expiresMs),
    last_used: time(usedMs),
  };
}
