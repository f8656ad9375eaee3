import { type Html, html } from "../html.js";
import type { Action, Page } from "../page.js";
import { pick } from "./failures.js";
import { bytes, counted, number, until } from "./format.js";
import { link, result, step, table } from "./parts.js";

interface Limit {
  files?: number;
  requests_per_second?: number;
  bytes_per_second?: number;
}

interface Host {
  host: string;
  breaker: {
    state: "open" | "half-open" | "closed";
    open_until: string | null;
    failures: number;
    opens: number;
  };
  limit: Limit | null;
  adapted: Limit | null;
  not_before: string | null;
  files_in_progress: number;
  waiting: Waiting | null;
}

/** What waits for a host, about. */
interface Waiting {
  files: number;
  runs: number;
}

interface HostPage {
  hosts: Host[];
  default_limit: Limit | null;
  truncated: boolean;
  next: string | null;
}

/** The hosts that files come from, those that are blocked first. */
export const hostsPage: Page = {
  path: "/hosts",
  title: "Hosts",
  isInNavigation: true,
  async render({ get, caller, query }) {
    const found = (await get("/api/v1/hosts", pick(query, ["cursor", "host"]))) as HostPage;
    const mayOperate = caller.scopes.includes("operate");
    const usual = html`<p>Hosts without a limit of their own: ${limitText(found.default_limit)}.</p>${mayOperate && html`<div class="steps">${limitSteps("*", found.default_limit)}</div>`}`;
    if (found.hosts.length === 0)
      return html`<h1>Hosts</h1><p class="empty">No host is known yet: hosts are listed once files were fetched from them.</p>${usual}`;
    const isBlocked = ({ breaker }: Host) => breaker.state !== "closed";
    const hosts = [...found.hosts.filter(isBlocked), ...found.hosts.filter((host) => !isBlocked(host))];
    const blocked = found.hosts.filter(isBlocked).length;
    const columns = [
      { title: "Host" },
      { title: "Breaker" },
      { title: "Files in progress", isNumber: true },
      { title: "Failures in a row", isNumber: true },
      { title: "Limit" },
      ...(mayOperate ? [{ title: "Action" }] : []),
    ];
    return html`<h1>Hosts</h1>
${query.host !== undefined && html`<p><a href="${link("/hosts")}">All hosts</a></p>`}
<p>${blocked === 0 ? "No host is blocked." : `${blocked} blocked.`}</p>
${table(
  "Hosts",
  columns,
  hosts.map((host) => row(host, mayOperate)),
)}
${found.truncated && html`<p class="partial">There are more hosts than can be listed.</p>`}
${found.next !== null && html`<p><a href="${link("/hosts", { cursor: found.next })}">More hosts</a></p>`}
<section aria-labelledby="usual" data-key="usual"><h2 id="usual">Default limit</h2>${usual}</section>`;
  },
  actions: [
    {
      path: "/hosts/:host/close",
      async run({ params, change }) {
        const host = params.host as string;
        const answer = await change("POST", `/api/v1/hosts/${encodeURIComponent(host)}/breaker/close`);
        const { closed, files_woken } = answer as { closed: string[]; files_woken: number };
        return result(
          closed.length === 0 ? "The breaker was closed already" : "The breaker is closed",
          closed.length === 0
            ? `${host} was not blocked.`
            : `${host}: ${counted(files_woken, "file")} that waited in the queue ${files_woken === 1 ? "is" : "are"} tried at once.`,
          [
            ["/hosts", "The hosts"],
            ["/overview", "The overview"],
          ],
        );
      },
    },
    limitAction("/hosts/:host/limit", (form) => ({ method: "PUT", body: limitOf(form) })),
    limitAction("/hosts/:host/unlimit", () => ({ method: "DELETE" })),
  ],
};

function limitAction(
  path: string,
  callOf: (form: URLSearchParams) => { method: "PUT" | "DELETE"; body?: Limit },
): Action {
  return {
    path,
    async run({ params, change }, form) {
      const host = params.host as string;
      const { method, ...call } = callOf(form);
      const answer = await change(method, `/api/v1/hosts/${encodeURIComponent(host)}/limit`, call);
      const { hosts, limit } = answer as { hosts: string[]; limit: Limit | null };
      return result(
        limit === null ? "The limit is gone" : "The limit holds",
        `${hosts.map(nameOf).join(" and ")}: ${limitText(limit)}.`,
        [["/hosts", "The hosts"]],
      );
    },
  };
}

function limitOf(form: URLSearchParams): Limit {
  const names = ["files", "requests_per_second", "bytes_per_second"] as const;
  const given = names.filter((name) => form.get(name));
  return Object.fromEntries(given.map((name) => [name, Number(form.get(name))]));
}

function row(host: Host, mayOperate: boolean) {
  const { breaker, limit, adapted } = host;
  const opens = breaker.open_until !== null && html`, tried again ${until(breaker.open_until)}`;
  return {
    key: host.host,
    cells: [
      host.host,
      html`<span class="${breaker.state}">${breaker.state}</span>${breaker.state === "open" && opens}`,
      number(host.files_in_progress),
      number(breaker.failures),
      html`${limit === null ? "as default" : limitText(limit)}${adapted !== null && html`<br><small>now ${limitText(adapted)}, since it asked for less</small>`}${host.not_before !== null && html`<br><small>asked to be left alone, until ${until(host.not_before)}</small>`}`,
      ...(mayOperate
        ? [
            html`<div class="steps">${breaker.state !== "closed" && closeStep(host.host, host.waiting)}${limitSteps(host.host, limit)}</div>`,
          ]
        : []),
    ],
  };
}

/** Closes the breaker of a host. @param waiting null where it is not known. */
export function closeStep(host: string, waiting: Waiting | null): Html {
  const count =
    waiting === null
      ? "How many files wait for it is not known"
      : waiting.files === 0
        ? "No file waits for it"
        : `About ${counted(waiting.files, "file")} of ${counted(waiting.runs, "run")} ${waiting.files === 1 ? "waits" : "wait"} for it`;
  return step({
    id: `close-${host}`,
    label: waiting === null ? "Close the breaker" : `Close the breaker: ${counted(waiting.files, "file")}`,
    explains: `The breaker of 1 host, ${host}, is closed. ${count}: what is in the queue is tried at once. Its failures are forgotten; if it is still in trouble, the breaker opens again.`,
    confirms: `Close the breaker of ${host}`,
    path: `/hosts/${encodeURIComponent(host)}/close`,
  });
}

function limitSteps(host: string, limit: Limit | null): Html {
  const name = nameOf(host);
  const path = `/hosts/${encodeURIComponent(host)}`;
  const input = (field: keyof Limit, label: string) =>
    html`<label>${label} <input type="number" name="${field}" min="${field === "requests_per_second" ? "0.01" : "1"}" step="${field === "requests_per_second" ? "any" : "1"}" value="${limit?.[field]}"></label>`;
  return html`${step({
    id: `limit-${host}`,
    label: limit === null ? "Limit" : "Change limit",
    explains: `What the whole fleet asks of ${name} at most. Empty is no limit of that kind.`,
    confirms: `Limit ${name}`,
    path: `${path}/limit`,
    inputs: html`${input("files", "Files at once")}${input("requests_per_second", "Requests per second")}${input("bytes_per_second", "Bytes per second")}`,
  })}${
    limit !== null &&
    step({
      id: `unlimit-${host}`,
      label: "Remove limit",
      explains: `The limit of ${name} (${limitText(limit)}) is taken away.`,
      confirms: `Remove the limit of ${name}`,
      path: `${path}/unlimit`,
    })
  }`;
}

function nameOf(host: string): string {
  return host === "*" ? "hosts without a limit" : host;
}

function limitText(limit: Limit | null): string {
  if (limit === null) return "no limit";
  const { files, requests_per_second: requests, bytes_per_second: perSecond } = limit;
  return [
    files !== undefined && `${counted(files, "file")} at once`,
    requests !== undefined && `${number(requests)} requests/s`,
    perSecond !== undefined && `${bytes(perSecond)}/s`,
  ]
    .filter(Boolean)
    .join(", ");
}
