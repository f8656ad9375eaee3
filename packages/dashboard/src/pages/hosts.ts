import { type Html, html } from "../html.js";
import { type Asked, BASE, type Page } from "../page.js";
import { dataTable } from "./data-table.js";
import { until } from "./format.js";

interface Host {
  host: string;
  breaker: {
    state: "open" | "half-open" | "closed";
    open_until: string | null;
    failures: number;
    opens: number;
  };
  files_in_progress: number;
}

interface HostPage {
  hosts: Host[];
  truncated: boolean;
  next: string | null;
}

/** The hosts that files come from, those that are blocked first. */
export const hostsPage: Page = {
  path: "/hosts",
  title: "Hosts",
  isInNavigation: true,
  async render({ get, caller, query }) {
    const cursor = query.cursor;
    const found = (await get("/api/v1/hosts", cursor === undefined ? {} : { cursor })) as HostPage;
    if (found.hosts.length === 0)
      return html`<h1>Hosts</h1><p>No host is known yet: hosts are listed once files were fetched from them.</p>`;
    const isBlocked = ({ breaker }: Host) => breaker.state !== "closed";
    const hosts = [...found.hosts.filter(isBlocked), ...found.hosts.filter((host) => !isBlocked(host))];
    const blocked = found.hosts.filter(isBlocked).length;
    return html`<h1>Hosts</h1>
<p>${blocked === 0 ? "No host is blocked." : `${blocked} blocked.`}${found.truncated && " There are more than are listed."}</p>
${dataTable({
  label: "Hosts",
  columns: ["Host", "Breaker", "#Files in progress", "#Failures in a row", "Action"],
  rows: hosts.map((host) => row(host, caller.scopes.includes("operate"))),
})}
${found.next !== null && html`<p><a href="${BASE}/hosts?cursor=${encodeURIComponent(found.next)}">More hosts</a></p>`}`;
  },
  actions: [
    {
      path: "/hosts/:host/close",
      async run({ params, change }: Asked) {
        const host = params.host as string;
        const answer = await change("POST", `/api/v1/hosts/${encodeURIComponent(host)}/breaker/close`);
        const { closed, files_woken } = answer as { closed: string[]; files_woken: number };
        return html`<h1>${closed.length === 0 ? "The breaker was closed already" : "The breaker is closed"}</h1>
<p>${host}: ${files_woken} waiting files are tried at once.</p><p><a href="${BASE}/hosts">To the hosts</a></p>`;
      },
    },
  ],
};

function row({ host, breaker, files_in_progress }: Host, mayOperate: boolean): Html {
  const opens = breaker.open_until === null ? "" : html`, tried again ${until(breaker.open_until)}`;
  return html`<tr data-key="${host}"><th scope="row">${host}</th><td class="${breaker.state}">${breaker.state}${breaker.state === "open" && opens}</td>
<td class="number">${files_in_progress}</td><td class="number">${breaker.failures}</td>
<td>${mayOperate && breaker.state !== "closed" && html`<form method="post" action="${BASE}/hosts/${encodeURIComponent(host)}/close"><button>Close the breaker of ${host}</button></form>`}</td></tr>`;
}
