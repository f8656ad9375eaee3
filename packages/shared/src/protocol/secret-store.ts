import type { Redis } from "ioredis";
import { SettingsError } from "../errors.js";
import { pipelined } from "../redis/script.js";
import type { RunSecrets } from "../run.js";
import { SECRETS } from "./fields.js";
import type { Keys } from "./keys.js";

/** Secrets of a run are forgotten after this time, in seconds: a retry after that needs them anew. */
export const SECRETS_TTL_SECONDS = 7 * 86_400;

/** The secrets of runs, one expiring key for each: all that no other key says. */
export class SecretStore {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {}

  /** Secrets of the command line. @throws SettingsError when they have expired. */
  async get(id: string): Promise<RunSecrets> {
    const [headers, sources, baseUrl, logins, customerKeys] = await this.redis.hmget(
      this.keys.secrets(id),
      SECRETS.headers,
      SECRETS.sources,
      SECRETS.baseUrl,
      SECRETS.logins,
      SECRETS.customerKeys,
    );
    if (headers == null || sources == null) {
      throw new SettingsError(`the credentials of run ${id} have expired: start a new sync`);
    }
    return {
      headers: JSON.parse(headers),
      sources: JSON.parse(sources),
      ...(baseUrl == null ? {} : { baseUrl }),
      ...(logins == null ? {} : { logins: JSON.parse(logins) }),
      ...(customerKeys == null ? {} : { customerKeys: JSON.parse(customerKeys) }),
    };
  }

  /** The list that came with the request of a run. @throws SettingsError when it is not kept any more. */
  async list(id: string): Promise<string> {
    const list = await this.redis.hget(this.keys.secrets(id), SECRETS.list);
    if (list === null)
      throw new SettingsError(`the list of run ${id} is not kept any more: start a new sync`);
    return list;
  }

  /** Forgets the list that came with the request of a run. */
  async dropList(id: string): Promise<void> {
    await this.redis.hdel(this.keys.secrets(id), SECRETS.list);
  }

  /** Forgets the users and passwords for URLs in the run's list: each file that needs one has its own by now. */
  async dropLogins(id: string): Promise<void> {
    await this.redis.hdel(this.keys.secrets(id), SECRETS.logins);
  }

  /**
   * Stores sources with their secrets, by flight. What a flight has stays: sources that differ in a secret alone have the
   * same one where they have the same destination, which is the first one's.
   */
  async keepSources(id: string, sources: Map<string, string>): Promise<void> {
    if (sources.size === 0) return;
    const key = this.keys.secrets(id);
    await pipelined(this.redis, (redis) => {
      const pipeline = redis.pipeline();
      for (const [flight, source] of sources) pipeline.hsetnx(key, flight, source);
      return pipeline.expire(key, SECRETS_TTL_SECONDS);
    });
  }

  /** The source of a file with its secrets; undefined where none is stored. */
  async source(id: string, flight: string): Promise<string | undefined> {
    return (await this.redis.hget(this.keys.secrets(id), flight)) ?? undefined;
  }
}
