import { ALERTS } from "./alerts.ts";
import { RECEIVER_URLS } from "./places.ts";

/** How long notifications are gathered, and told again while they last. */
export const GROUPING = { group_wait: "30s", group_interval: "5m", repeat_interval: "4h" } as const;

/** Alertmanager's configuration: who gets what, and what is silent because of something else. */
export function alertmanagerConfig(): object {
  const silencers = [...new Set(ALERTS.flatMap(({ silencedBy }) => silencedBy))];
  return {
    route: {
      receiver: "ticket",
      group_by: ["alertname"],
      ...GROUPING,
      routes: [{ receiver: "page", matchers: ['severity = "page"'] }],
    },
    receivers: Object.entries(RECEIVER_URLS).map(([name, url]) => ({
      name,
      webhook_configs: [{ url, send_resolved: true }],
    })),
    inhibit_rules: silencers.map((silencer) => {
      const silent = ALERTS.filter(({ silencedBy }) => silencedBy.includes(silencer)).map(({ name }) => name);
      return {
        source_matchers: [`alertname = "${silencer}"`],
        target_matchers: [`alertname =~ "${silent.join("|")}"`],
      };
    }),
  };
}
