/** What differs from one installation to the next. */

/** Where the runbooks of `docs/runbooks/` are published, for the links of alerts. */
export const RUNBOOKS_URL = "https://drover.example/docs/runbooks";

/** Who gets the alerts, by severity: webhooks, to be replaced by your own receivers. */
export const RECEIVER_URLS = {
  page: "http://alert-receiver:9095/page",
  ticket: "http://alert-receiver:9095/ticket",
} as const;

/** Data source of Grafana. */
export const DATASOURCE = { uid: "drover-prometheus", url: "http://prometheus:9090" } as const;
