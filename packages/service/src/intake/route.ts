import { STAGING_NAME } from "@drover/shared/paths";
import { isSame } from "../security/access.js";

/** Where objects of a bucket go when a storage tells of them. */
export interface EventRoute {
  bucket: string;
  /** Beginning of the keys; "" for all. */
  prefix: string;
  /** Root of the destination: an absolute path, or `s3://bucket/prefix`. */
  destination: string;
  /** Whether files are removed whose objects are gone. */
  deletes: boolean;
  /** Most removals of one batch; a batch with more removes nothing. */
  maxDelete: number;
  /** Mirror that is told instead of a run being made; undefined for none. */
  mirror?: string | undefined;
  /** What opens the route to senders without a bearer; undefined for none. */
  secret: string | undefined;
}

/** What notifications are acted on, and how they are believed. */
export interface EventSettings {
  routes: EventRoute[];
  /** ARNs of the topics of Amazon SNS that may send. */
  topics: string[];
}

/** The routes that a secret opens. It is compared with all of them, whichever fit. */
export function routesOfSecret(routes: readonly EventRoute[], given: string): EventRoute[] {
  return routes.filter(({ secret }) => secret !== undefined && isSame(secret, given));
}

/** Whether a route takes an object. */
export function takes({ bucket, prefix }: EventRoute, event: { bucket: string; key: string }): boolean {
  return bucket === event.bucket && event.key.startsWith(prefix);
}

/** The name of an object below the destination of its route: its key without the directories of the prefix. */
export function nameOf({ prefix }: Pick<EventRoute, "prefix">, key: string): string {
  return key.slice(prefix.lastIndexOf("/") + 1);
}

/** Whether a key stands for no file: a directory's, or that of an upload of Drover's own. */
export function isNoFile(key: string): boolean {
  return key.endsWith("/") || STAGING_NAME.test(key.slice(key.lastIndexOf("/") + 1));
}
