import type { Request } from "express";

/** Headers that a proxy adds: behind one, whoever asks looks like this machine. */
const FORWARDED = /^(forwarded|x-forwarded-.*|x-real-ip)$/;
/** Names of this machine that a browser can only have typed itself. */
const OWN_HOSTS = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/i;

/** Whether an address is this machine's own. */
export function isLoopback(address: string | undefined): boolean {
  return address !== undefined && /^(::ffff:)?127\.|^::1$/.test(address);
}

/** Whether a proxy has sent a request on, as its headers tell. */
export function isForwarded({ headers }: Pick<Request, "headers">): boolean {
  return Object.keys(headers).some((name) => FORWARDED.test(name));
}

/** Whether this machine was asked by a name that means this machine everywhere. */
export function isOwnHost({ headers }: Pick<Request, "headers">): boolean {
  return OWN_HOSTS.test(headers.host ?? "");
}

/** Whether a request stayed on this machine, as far as it can be told: there, plain HTTP is as good as TLS. */
export function isLocal(request: Pick<Request, "headers" | "socket">): boolean {
  return !isForwarded(request) && isLoopback(request.socket.remoteAddress) && isOwnHost(request);
}
