/** Stands for the client in the package's declarations: an Engine holds one, but what it offers is not public. */
export interface Redis {
  readonly status: string;
}
export type ChainableCommander = unknown;
export type RedisOptions = unknown;
