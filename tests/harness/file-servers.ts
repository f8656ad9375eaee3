import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startFileManager } from "@drover/file-manager/server";
import { until } from "./gate.js";

/** A server that keeps files in a directory. */
export interface TestFileServer {
  /** Location that Drover writes below, without a slash at its end. */
  readonly root: string;
  /** Where the server has its files. */
  readonly directory: string;
  stop(): Promise<void>;
}

/** Starts a server, or says why it cannot be had here. */
export interface FileServerKind {
  readonly name: string;
  /** Undefined where its program is there. */
  readonly absent: string | undefined;
  start(): Promise<TestFileServer>;
}

/** Drover's own. */
export const fileManager: FileServerKind = {
  name: "drover file-manager",
  absent: undefined,
  async start() {
    const path = mkdtempSync(join(tmpdir(), "drover-file-manager-"));
    const directory = join(path, "files");
    const options = { host: "127.0.0.1", port: 0, token: undefined, durable: false, log: () => {} };
    const server = await startFileManager({ ...options, root: directory });
    return {
      root: `filemanager+http://127.0.0.1:${server.port}/files`,
      directory,
      async stop() {
        await server.stop(5_000);
        rmSync(path, { recursive: true, force: true });
      },
    };
  },
};

const isRoot = process.getuid?.() === 0;

function find(program: string): string | undefined {
  const found = spawnSync("/bin/sh", ["-c", `PATH=$PATH:/usr/sbin:/sbin command -v ${program}`]);
  return found.status === 0 ? String(found.stdout).trim() : undefined;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** Runs a program that serves `path/files` at a port, until it is stopped. */
async function serve(begin: (path: string, port: number) => ChildProcess): Promise<TestFileServer> {
  const path = mkdtempSync(join(tmpdir(), "drover-webdav-"));
  chmodSync(path, 0o777);
  const directory = join(path, "files");
  mkdirSync(directory);
  chmodSync(directory, 0o777);
  const port = await freePort();
  const child = begin(path, port);
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  await until(`the server at port ${port}`, () => answers(port));
  return {
    root: `webdav+http://127.0.0.1:${port}/files`,
    directory,
    async stop() {
      child.kill("SIGTERM");
      await ended;
      rmSync(path, { recursive: true, force: true });
    },
  };
}

const APACHE_MODULES = "/usr/lib/apache2/modules";
const apachePath = find("apache2");

export const apache: FileServerKind = {
  name: "Apache mod_dav",
  absent: apachePath && existsSync(APACHE_MODULES) ? undefined : "apache2 is not installed",
  start: () =>
    serve((path, port) => {
      const modules = ["mpm_event", "authz_core", "alias", "dav", "dav_fs"];
      const loads = modules.map((name) => `LoadModule ${name}_module ${APACHE_MODULES}/mod_${name}.so`);
      const files = join(path, "files");
      writeFileSync(
        join(path, "httpd.conf"),
        `ServerRoot ${path}
ServerName 127.0.0.1
Listen 127.0.0.1:${port}
PidFile ${path}/httpd.pid
ErrorLog ${path}/error.log
${loads.join("\n")}
${isRoot ? "User www-data\nGroup www-data" : ""}
StartServers 1
DavLockDB ${path}/locks
DocumentRoot ${path}
<Directory ${files}>
  Require all granted
  Dav On
</Directory>
`,
      );
      if (isRoot) {
        const { uid, gid } = statOf("www-data");
        chownSync(files, uid, gid);
      }
      return spawn(apachePath as string, ["-f", join(path, "httpd.conf"), "-DFOREGROUND"], {
        stdio: "ignore",
      });
    }),
};

function statOf(user: string): { uid: number; gid: number } {
  const id = (flag: string) => Number(spawnSync("id", [flag, user]).stdout);
  return { uid: id("-u"), gid: id("-g") };
}

const NGINX_MODULE = "/usr/lib/nginx/modules/ngx_http_dav_ext_module.so";
const nginxPath = find("nginx");

export const nginx: FileServerKind = {
  name: "nginx with dav-ext",
  absent:
    nginxPath && statSync(NGINX_MODULE, { throwIfNoEntry: false })
      ? undefined
      : "nginx with libnginx-mod-http-dav-ext is not installed",
  start: () =>
    serve((path, port) => {
      writeFileSync(
        join(path, "nginx.conf"),
        `load_module ${NGINX_MODULE};
${isRoot ? "user root;" : ""}
daemon off;
worker_processes 1;
pid ${path}/nginx.pid;
error_log ${path}/error.log;
events {}
http {
  access_log off;
  client_body_temp_path ${path}/bodies;
  proxy_temp_path ${path}/proxy;
  fastcgi_temp_path ${path}/fastcgi;
  uwsgi_temp_path ${path}/uwsgi;
  scgi_temp_path ${path}/scgi;
  dav_ext_lock_zone zone=locks:1m;
  server {
    listen 127.0.0.1:${port};
    root ${path};
    location /files/ {
      client_max_body_size 0;
      dav_methods PUT DELETE MKCOL COPY MOVE;
      dav_ext_methods PROPFIND OPTIONS LOCK UNLOCK;
      dav_ext_lock zone=locks;
      create_full_put_path on;
    }
  }
}
`,
      );
      return spawn(nginxPath as string, ["-p", path, "-c", join(path, "nginx.conf")], { stdio: "ignore" });
    }),
};

const rclonePath = find("rclone");

export const rclone: FileServerKind = {
  name: "rclone serve webdav",
  absent: rclonePath ? undefined : "rclone is not installed",
  start: () =>
    serve((path, port) => {
      const flags = ["--addr", `127.0.0.1:${port}`, "--baseurl", "/files", "--dir-cache-time", "0s"];
      return spawn(
        rclonePath as string,
        ["serve", "webdav", join(path, "files"), ...flags, "--config", join(path, "rclone.conf")],
        { stdio: "ignore" },
      );
    }),
};

export const WEBDAV_SERVERS = [apache, nginx, rclone];
