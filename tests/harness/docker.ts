import { existsSync } from "node:fs";
import { request } from "node:http";
import { homedir } from "node:os";
import { join } from "node:path";

/** A Docker engine that does not answer within this is none. */
const PROBE_MS = 1_000;
/** A container that nobody stopped stops itself: its test run was killed. */
export const CONTAINER_LIFE_SECONDS = 1_200;

/** The library, without its reaper: that is one more image to pull, and containers bound their own lives. */
export async function testcontainers() {
  process.env.TESTCONTAINERS_RYUK_DISABLED ??= "true";
  return await import("testcontainers");
}

/** Asks the engine that DOCKER_HOST names, or the usual sockets. */
export async function dockerAnswers(): Promise<boolean> {
  const named = process.env.DOCKER_HOST;
  if (named?.startsWith("tcp://")) return ping({ host: new URL(named).hostname, port: new URL(named).port });
  const runtime = process.env.XDG_RUNTIME_DIR;
  const sockets = named
    ? [named.replace(/^unix:\/\//, "")]
    : [
        "/var/run/docker.sock",
        join(homedir(), ".docker/run/docker.sock"),
        ...(runtime ? [join(runtime, "docker.sock")] : []),
      ];
  const answers = await Promise.all(sockets.filter(existsSync).map((socketPath) => ping({ socketPath })));
  return answers.includes(true);
}

function ping(where: { socketPath: string } | { host: string; port: string }): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ ...where, path: "/_ping", timeout: PROBE_MS }, (answer) => {
      answer.resume();
      resolve(answer.statusCode === 200);
    });
    asked.on("timeout", () => asked.destroy());
    asked.on("error", () => resolve(false));
    asked.on("close", () => resolve(false));
    asked.end();
  });
}
