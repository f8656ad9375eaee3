import type { LookupFunction, Socket } from "node:net";
import { buildConnector } from "undici";
import { TransferError } from "../../errors.js";
import { socketReader } from "./direct-receive.js";
import { type Proxies, type ProxyServer, proxyRefusal, proxyUnreachable } from "./proxies.js";
import { type SecureContexts, secureContexts } from "./trust.js";

/** Most bytes of a proxy's answer to CONNECT. */
const MOST_ANSWER_BYTES = 16 << 10;

interface ConnectorOptions {
  timeoutMs: number;
  proxies: Proxies;
  /** DNS lookup of origins; a proxy does its own. */
  lookup?: LookupFunction | undefined;
  /** Whether the user named the origins: then they get the client certificate, if they ask for one. */
  named: boolean;
  /** Sockets whose proxies have not answered yet. Whoever ends early destroys them. */
  tunnels: Set<Socket>;
}

/**
 * Makes the function that opens connections to origins, through their proxies if they have some. To an http origin the
 * connection of the proxy itself is returned: requests over it must have an absolute target. To an https origin it is a
 * tunnel (CONNECT).
 */
export function connectorOf(options: ConnectorOptions): buildConnector.connector {
  const { timeoutMs, proxies, lookup, named, tunnels } = options;
  const once = (of: keyof SecureContexts, more: object) => {
    let made: buildConnector.connector | undefined;
    return (): buildConnector.connector => {
      const secureContext = made ? undefined : secureContexts()[of];
      made ??= buildConnector({
        timeout: timeoutMs,
        allowH2: false,
        ...(secureContext ? { secureContext } : {}),
        ...more,
      });
      return made;
    };
  };
  const origins = named ? "named" : "others";
  const plain = buildConnector({
    timeout: timeoutMs,
    allowH2: false,
    onread: socketReader,
    ...(lookup ? { lookup } : {}),
  });
  // Made when first needed, since the authorities are read for them.
  const secure = once(origins, { onread: socketReader, ...(lookup ? { lookup } : {}) });
  const toProxy = once("others", { onread: socketReader });
  const toTunnel = once("others", {});
  const through = once(origins, {});
  return (target, callback) => {
    const fail = (error: unknown) => queueMicrotask(() => callback(error as Error, null));
    try {
      const proxy = proxies.for(`${target.protocol}//${target.host ?? target.hostname}`);
      if (!proxy) return (target.protocol === "https:" ? secure() : plain)(target, callback);
      const isTunnel = target.protocol === "https:";
      const { protocol, hostname, port } = proxy;
      const open = isTunnel ? toTunnel() : toProxy();
      return open({ protocol, hostname, host: hostname, port }, (error, socket) => {
        if (error) return callback(proxyUnreachable(proxy, error, timeoutMs), null);
        if (!isTunnel) return callback(null, socket);
        tunnels.add(socket);
        const opening = tunnel(socket, proxy, target, timeoutMs).finally(() => tunnels.delete(socket));
        opening.then(
          (httpSocket) => through()({ ...target, httpSocket } as buildConnector.Options, callback),
          (refused) => callback(refused, null),
        );
      });
    } catch (error) {
      return fail(error);
    }
  };
}

/**
 * Asks a proxy for a tunnel.
 *
 * @returns the socket, which now leads to the target.
 * @throws TransferError class `proxy`.
 */
function tunnel(
  socket: Socket,
  proxy: ProxyServer,
  { hostname, port }: buildConnector.Options,
  timeoutMs: number,
): Promise<Socket> {
  const host = hostname.includes(":") && !hostname.startsWith("[") ? `[${hostname}]` : hostname;
  const target = `${host}:${port || 443}`;
  const authorization =
    proxy.authorization === undefined ? "" : `Proxy-Authorization: ${proxy.authorization}\r\n`;
  return new Promise((resolve, reject) => {
    let answer = Buffer.alloc(0);
    const end = (result: Socket | Error) => {
      clearTimeout(timer);
      socket.off("data", onData).off("error", onError).off("close", onClose);
      if (!(result instanceof Error)) {
        socket.pause();
        return resolve(result);
      }
      socket.on("error", () => {}); // it is of no interest any more
      socket.destroy();
      reject(result);
    };
    const onError = (error: Error) => end(proxyUnreachable(proxy, error, timeoutMs));
    const onClose = () =>
      end(new TransferError("proxy", `the proxy ${proxy.shown} closed the connection without an answer`));
    const onData = (chunk: Buffer) => {
      answer = Buffer.concat([answer, chunk]);
      const headerEnd = answer.indexOf("\r\n\r\n");
      if (headerEnd < 0 && answer.length <= MOST_ANSWER_BYTES) return;
      const status = Number(/^HTTP\/1\.[01] (\d{3})\b/.exec(answer.toString("latin1"))?.[1] ?? 0);
      if (status >= 100 && status < 200) {
        answer = answer.subarray(headerEnd + 4);
        return onData(Buffer.alloc(0));
      }
      if (status >= 200 && status < 300 && headerEnd >= 0) {
        // A TLS server waits for the client, so nothing can have come from the target yet.
        return end(
          answer.length === headerEnd + 4
            ? socket
            : new TransferError("proxy", `the proxy ${proxy.shown} sent data before the tunnel was used`),
        );
      }
      if (status === 0)
        return end(new TransferError("proxy", `the proxy ${proxy.shown} does not answer in HTTP`));
      end(proxyRefusal(proxy, status));
    };
    const timer = setTimeout(
      () =>
        end(
          new TransferError(
            "proxy",
            `the proxy ${proxy.shown}: no tunnel to ${target} within ${timeoutMs / 1000} s`,
          ),
        ),
      timeoutMs,
    );
    socket.on("data", onData).on("error", onError).on("close", onClose);
    socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${authorization}\r\n`);
  });
}
