/** A word and what it means. */
export type Term = [word: string, meaning: string];

/** Exit codes of commands that carry files, which most others share; docs/exit-codes.md tells more. */
export const EXIT_CODES: Term[] = [
  ["0", "All went well: of a run, every file is copied, unchanged or deleted."],
  [
    "1",
    "Some of it did not: some files did not arrive, something waits for a person, or two exports differ.",
  ],
  ["2", "Wrong settings or arguments, a log file that cannot be opened, or no Redis. Nothing was changed."],
  ["3", "No file arrived."],
  ["130", "Interrupted; drover resume goes on."],
];

/** Exit codes of drover fetch. */
export const FETCH_EXIT_CODES: Term[] = [
  ["0", "The file is there, or another fetch of the same pair is at it."],
  ["42", "Something that it needs is missing: no Redis server is installed, or Redis cannot be reached."],
  ["64", "Wrong arguments or settings."],
  ["70", "The download failed: its tries are spent, or no retry would help."],
  ["75", "The host's circuit breaker is open; nothing was tried."],
  ["130", "Interrupted."],
];

/** Variables besides those of the settings. */
export const VARIABLES: Term[] = [
  ["DROVER_PROFILE", "profile of the settings files, as --profile"],
  ["DROVER_REDIS_CA", "PEM file with the authority that signs the certificate of Redis"],
  ["DROVER_COMPLETE_MS", "milliseconds that completion waits for Redis (default: 300)"],
  ["NO_COLOR", "any value but the empty one: no colours"],
  ["FORCE_COLOR, CLICOLOR_FORCE", "colours also where there is no terminal, unless the value is 0"],
  ["TERM", "dumb: no colours, and no live progress"],
  ["XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR", "where files are, see below"],
  ["http_proxy, https_proxy, all_proxy, no_proxy", "proxies for http(s) and S3, also in capitals"],
  ["SSL_CERT_FILE, SSL_CERT_DIR, NODE_EXTRA_CA_CERTS", "authorities that sign the certificates of servers"],
  ["AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …", "credentials for S3, as the tools of AWS have them"],
  ["FILE_MANAGER_TOKEN, FILE_MANAGER_TOKEN_FILE", "token for file managers"],
  ["WEBDAV_USER, WEBDAV_PASSWORD, WEBDAV_PASSWORD_FILE", "login at WebDAV servers"],
  ["API_TOKEN, LOG_LEVEL, LOG_FILE, …", "settings of drover serve alone: docs/service.md lists them"],
];

export const FILES: Term[] = [
  ["drover.yaml", "settings of the current directory; --config names another file"],
  ["~/.config/drover/config.yaml", "your own settings, below $XDG_CONFIG_HOME if that is set"],
  ["~/.local/state/drover", "Drover's own Redis and lists, below $XDG_STATE_HOME if that is set"],
  [".env", "variables for drover serve, events, dashboard and mirror"],
  ["~/.netrc", "users and passwords for --netrc"],
];
