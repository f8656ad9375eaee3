import { STAGING_NAME } from "@drover/shared/paths";
import { isSame } from "../security/access.js";

/** What a route does with objects of a bucket. */
export interface RouteTarget {
  /** Beginning of the keys; "" for all. */
  prefix: string;
  /** Root of the destination: an absolute path, or `s3://bucket/prefix`. */
  destination: string;
  /** Whether files are removed whose objects are gone. */
  deletes: boolean;
  /** Most removals of one batch; a batch with more removes nothing. */
  maxDelete: number;
  /** Where what is overwritten or removed is kept: see a run's request. Default: nowhere. */
  backup?: { dir?: string | undefined; suffix?: string | undefined } | undefined;
  /** Mirror that is told instead of a run being made; undefined for none. */
  mirror?: string | undefined;
}

/** Where objects of a bucket go when a storage tells of them. */
export interface EventRoute extends RouteTarget {
  bucket: string;
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

/** Tells a route from the others, also after its other settings were changed. */
export function nameOfRoute({ bucket, prefix, destination }: EventRoute): string {
  return JSON.stringify([bucket, prefix, destination]);
}

/** Whether a route takes an object. */
export function takes({ bucket, prefix }: EventRoute, event: { bucket: string; key: string }): boolean {
  return bucket === event.bucket && event.key.startsWith(prefix);
}

/** The directories of a route's prefix, with a `/` at the end: keys lose them. "" for none. */
export function parentOf({ prefix }: Pick<RouteTarget, "prefix">): string {
  return prefix.slice(0, prefix.lastIndexOf("/") + 1);
}

/** The name of an object below the destination of its route: its key without the directories of the prefix. */
export function nameOf(route: Pick<RouteTarget, "prefix">, key: string): string {
  return key.slice(parentOf(route).length);
}

/** Whether a key stands for no file: a directory's, or that of an upload of Drover's own. */
export function isNoFile(key: string): boolean {
  return key.endsWith("/") || STAGING_NAME.test(key.slice(key.lastIndexOf("/") + 1));
}
