import { Script } from "../../redis/script.js";

/**
 * Reads how many files of a run did not succeed, at one moment.
 *
 * KEYS: failed, its groups. Returns how many there are, and the groups: name, number of files, name, …
 */
export const readFailureGroupsScript = new Script(
  "read-failure-groups",
  `return {redis.call('HLEN', KEYS[1]), redis.call('HGETALL', KEYS[2])}`,
);
