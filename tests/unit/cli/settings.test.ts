import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { OptionError } from "@drover/cli/settings/option-error";
import { requestOf } from "@drover/cli/settings/run-request";
import { resolveSettings, SETTINGS, showSettings, unknownVariables } from "@drover/cli/settings/settings";
import { planRun } from "@drover/producer/runs/plan/plan";
import { SettingsError } from "@drover/shared/errors";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "drover-settings-"));
  for (const name of Object.keys(process.env)) {
    if (/^(DROVER_|REDIS_URL|XDG_STATE_HOME|XDG_CONFIG_HOME)/.test(name)) vi.stubEnv(name, undefined);
  }
  vi.stubEnv("HOME", directory);
  vi.spyOn(process, "cwd").mockReturnValue(directory);
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  rmSync(directory, { recursive: true, force: true });
});

function config(text: string): string {
  const path = join(directory, "config.yaml");
  writeFileSync(path, text);
  return path;
}

describe("a setting comes from", () => {
  test("its flag, before the environment, before the file, before the default", async () => {
    const file = config("retries: 2\ntimeout: 20\nlayout: url\n");
    vi.stubEnv("DROVER_RETRIES", "3");
    vi.stubEnv("DROVER_TIMEOUT", "30");
    const { values, origins } = await resolveSettings({ retries: "4" }, file);
    expect(values).toMatchObject({ retries: 4, timeout: 30, layout: "url", "max-workers": 8 });
    expect(origins).toMatchObject({
      retries: "flag",
      timeout: "environment",
      layout: "file",
      "max-workers": "default",
    });
  });

  test("REDIS_URL too, but DROVER_REDIS has precedence", async () => {
    vi.stubEnv("REDIS_URL", "redis://one");
    expect((await resolveSettings({}, undefined)).values.redis).toBe("redis://one");
    vi.stubEnv("DROVER_REDIS", "redis://two");
    expect((await resolveSettings({}, undefined)).values.redis).toBe("redis://two");
  });

  test("no empty variable, except for script-name, which may be empty", async () => {
    vi.stubEnv("DROVER_RETRIES", "");
    vi.stubEnv("DROVER_SCRIPT_NAME", "");
    const { values, origins } = await resolveSettings({}, undefined);
    expect([values.retries, origins.retries]).toEqual([5, "default"]);
    expect([values["script-name"], origins["script-name"]]).toEqual(["", "environment"]);
  });

  test("its documented default", async () => {
    vi.stubEnv("HOME", "/home/somebody");
    const { values } = await resolveSettings({}, undefined);
    expect(values).toMatchObject({
      "script-name": "resilient-data-sync",
      layout: "name",
      "max-workers": 8,
      retries: 5,
      timeout: 300,
      "backoff-factor": 1.5,
      "circuit-ttl": 300,
      "breaker-wait": 300,
      "max-file-size": undefined,
      bwlimit: undefined,
      "check-destination": undefined,
      resume: true,
      durability: "fsync",
      "keep-runs": 20_000,
      "keep-outcomes": 10_000,
      "keep-outcomes-for": 86_400,
      "state-dir": "/home/somebody/.local/state/drover",
      redis: undefined,
    });
    expect(values["artifact-root"]).toBe(resolve("reports/scripts"));
  });

  test("XDG_STATE_HOME for the state directory, and circuit-ttl for breaker-wait", async () => {
    vi.stubEnv("XDG_STATE_HOME", "/xdg");
    const { values } = await resolveSettings({ "circuit-ttl": "7" }, undefined);
    expect(values["state-dir"]).toBe("/xdg/drover");
    expect(values["breaker-wait"]).toBe(7);
  });
});

describe("the value of a setting", () => {
  test.for<[keyof typeof SETTINGS, string, unknown]>([
    ["bwlimit", "500000", 500_000],
    ["bwlimit", "20MB", 20e6],
    ["bwlimit", "20MB/s", 20e6],
    ["max-file-size", "1.5GiB", 1.5 * 2 ** 30],
    ["max-file-size", "2 k", 2_000],
    ["max-file-size", "1Ki", 1_024],
    ["keep-runs", "1", 1],
    ["resume", "no", false],
    ["resume", "TRUE", true],
    ["timeout", "0.5", 0.5],
    ["timeout", "30s", 30],
    ["timeout", "500ms", 0.5],
    ["timeout", ".5", 0.5],
    ["circuit-ttl", "1h30m", 5_400],
    ["breaker-wait", "5m", 300],
    ["drain-deadline", "1d", 86_400],
    ["user-agent", " mine/1 (x) ", "mine/1 (x)"],
    ["breaker-wait", "0", 0],
    ["layout", "url", "url"],
  ])("is parsed: --%s %s is %j", async ([name, text, expected]) => {
    expect((await resolveSettings({ [name]: text }, undefined)).values[name]).toBe(expected);
  });

  test.for<[keyof typeof SETTINGS, string]>([
    ["retries", "0"],
    ["retries", "-1"],
    ["retries", "1.5"],
    ["retries", "many"],
    ["retries", ""],
    ["retries", " "],
    ["retries", "NaN"],
    ["retries", "Infinity"],
    ["retries", "5,6"],
    ["keep-runs", "0"],
    ["keep-runs", "1.5"],
    ["max-workers", "0"],
    ["max-workers", "1025"],
    ["timeout", "0"],
    ["timeout", "1e9"],
    ["timeout", "1ms"],
    ["timeout", "2d"],
    ["timeout", "5 minutes"],
    ["drain-deadline", "-1s"],
    ["user-agent", "a\nb"],
    ["ca-file", ""],
    ["backoff-factor", "0.5"],
    ["circuit-ttl", "null"],
    ["layout", "URL"],
    ["layout", ""],
    ["durability", "maybe"],
    ["resume", "2"],
    ["bwlimit", "0"],
    ["bwlimit", "fast"],
    ["bwlimit", "-5MB"],
    ["max-file-size", "1PB"],
    ["artifact-root", ""],
    ["state-dir", ""],
    ["redis", ""],
    ["redis", "host:6379"],
    ["redis", "http://host"],
    ["redis", "redis+sentinel://host:26379"],
  ])("is refused from any origin if it is invalid: --%s %j", async ([name, text]) => {
    const line = /^[^\n]+ must be [^\n]+, not [^\n]+$/;
    await expect(resolveSettings({ [name]: text }, undefined)).rejects.toThrow(SettingsError);
    await expect(resolveSettings({ [name]: text }, undefined)).rejects.toThrow(line);
    await expect(resolveSettings({ [name]: text }, undefined)).rejects.toThrow(`--${name}`);
    const file = config(`${name}: ${JSON.stringify(text)}\n`);
    await expect(resolveSettings({}, file)).rejects.toThrow(`${name} in ${file}`);
    if (text === "") return;
    const variable = `DROVER_${name.toUpperCase().replaceAll("-", "_")}`;
    vi.stubEnv(variable, text);
    await expect(resolveSettings({}, undefined)).rejects.toThrow(variable);
  });
});

test("the error for an invalid address of Redis does not repeat it, as it may contain a password", async () => {
  const answer = resolveSettings({ redis: "redis://user:CANARY/@host" }, undefined);
  await expect(answer).rejects.toThrow(/^--redis must be [^\n]+, not this$/);
  await expect(answer).rejects.not.toThrow(/CANARY/);
});

test.for([
  ["s3://N/w", '--artifact-root: invalid bucket name "N": write s3://bucket/key'],
  [
    "s3:/bucket/w",
    "--artifact-root: s3:/ has one slash too few: write s3://bucket/key, or ./s3:/… for a path",
  ],
])("the artifact root %s is refused with one clear line", async ([root, line]) => {
  await expect(resolveSettings({ "artifact-root": root }, undefined)).rejects.toThrow(new OptionError(line));
});

describe("an environment variable", () => {
  test("that is not a setting is reported with the closest setting", () => {
    expect(unknownVariables({ DROVER_RETRYS: "1", DROVER_ZZZ: "1" })).toEqual([
      "DROVER_RETRYS in the environment is no setting: did you mean DROVER_RETRIES?",
      "DROVER_ZZZ in the environment is no setting",
    ]);
  });

  test("that Drover reads otherwise, or that Kubernetes sets for services, is not reported", () => {
    const names = Object.keys(SETTINGS).map((name) => `DROVER_${name.toUpperCase().replaceAll("-", "_")}`);
    const others = [
      "DROVER_REDIS_CA",
      "DROVER_PROFILE",
      "DROVER_EMBEDDED_IDLE_MS",
      "DROVER_FAULT",
      "DROVER_TEST_S3",
      "DROVER_BENCH",
    ];
    const made = ["DROVER_SERVICE_HOST", "DROVER_REDIS_SERVICE_PORT", "DROVER_PORT_6379_TCP_ADDR", "PATH"];
    const env = Object.fromEntries([...names, ...others, ...made].map((name) => [name, "1"]));
    expect(unknownVariables({ ...env, DROVER_REDIS_PORT: "tcp://10.0.0.1:6379" })).toEqual([]);
  });
});

describe("a configuration file", () => {
  test("that is not valid YAML is reported in one whole line", async () => {
    await expect(resolveSettings({}, config("retries: 1: 2\n"))).rejects.toThrow(/ at line 1, column \d+$/);
  });

  test("that is empty or has only comments is accepted", async () => {
    for (const text of ["", "# nothing\n", "---\n"]) {
      expect((await resolveSettings({}, config(text))).values.retries).toBe(5);
    }
  });

  test.for<[string, string]>([
    ["retrys", "retries"],
    ["max_workers", "max-workers"],
    ["artifactroot", "artifact-root"],
    ["Timeout", "timeout"],
    ["circuit_ttl", "circuit-ttl"],
  ])("with the unknown name %s is refused with a suggestion: did you mean %s?", async ([name, near]) => {
    const file = config(`${name}: 5\n`);
    await expect(resolveSettings({}, file)).rejects.toThrow(`did you mean ${near}?`);
    await expect(resolveSettings({}, file)).rejects.toThrow(SettingsError);
  });

  test("with a name that resembles no setting is refused without a suggestion", async () => {
    const error = await resolveSettings({}, config("zzz: 5\n")).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(SettingsError);
    expect(String(error)).toContain("unknown setting zzz");
    expect(String(error)).not.toContain("did you mean");
  });

  test.for(["- a\n- b\n", "just text\n", "5\n", "retries: [\n", "retries: 1\nretries: 2\n", "\ttab: x\n"])(
    "that is invalid is refused: %j",
    async (text) => {
      await expect(resolveSettings({}, config(text))).rejects.toThrow(SettingsError);
      await expect(resolveSettings({}, config(text))).rejects.toThrow(/^[^\n]+$/);
    },
  );

  test("that was named and does not exist is refused", async () => {
    await expect(resolveSettings({}, join(directory, "none.yaml"))).rejects.toThrow(/none\.yaml \(ENOENT\)$/);
  });

  test.for([
    "artifact-root:",
    "artifact-root: null",
    "artifact-root: {a: b}",
    "artifact-root: [a, b]",
    "script-name:",
    "script-name: [a, b]",
    "redis:",
    "redis: {url: x}",
    "state-dir: ~",
    "retries:",
    "retries: [1]",
    "resume: {}",
  ])(
    "with a value that is not plain is refused, and the value never becomes null or [object Object] (%s)",
    async (text) => {
      await expect(resolveSettings({}, config(`${text}\n`))).rejects.toThrow(SettingsError);
    },
  );

  test("may have numbers and booleans as YAML writes them", async () => {
    const { values } = await resolveSettings({}, config("retries: 7\nresume: false\nbwlimit: 1000\n"));
    expect(values).toMatchObject({ retries: 7, resume: false, bwlimit: 1000 });
  });
});

describe("the user's own file and profiles", () => {
  function userFile(text: string): string {
    const path = join(directory, "xdg/drover/config.yaml");
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    vi.stubEnv("XDG_CONFIG_HOME", join(directory, "xdg"));
    return path;
  }

  test("the user's file counts below the project's, wherever XDG says", async () => {
    const user = userFile("retries: 2\ntimeout: 20s\n");
    const project = config("retries: 3\n");
    const { values, origins, places } = await resolveSettings({}, project);
    expect(values).toMatchObject({ retries: 3, timeout: 20 });
    expect(origins).toMatchObject({ retries: "file", timeout: "file", layout: "default" });
    expect(places).toMatchObject({ retries: project, timeout: user, layout: "" });
  });

  test("it is ~/.config/drover/config.yaml by default", async () => {
    mkdirSync(join(directory, ".config/drover"), { recursive: true });
    writeFileSync(join(directory, ".config/drover/config.yaml"), "retries: 2\n");
    expect((await resolveSettings({}, undefined)).values.retries).toBe(2);
  });

  test("a profile has precedence over both files, that of the project over that of the user", async () => {
    const user = userFile("retries: 2\nprofiles:\n  prod: {retries: 22, timeout: 5m}\n");
    const project = config(
      "layout: url\nretries: 3\ntimeout: 1\nprofiles: {prod: {retries: 33}, test: {}}\n",
    );
    const { values, places } = await resolveSettings({}, project, "prod");
    expect(values).toMatchObject({ retries: 33, timeout: 300, layout: "url" });
    expect(places).toMatchObject({
      retries: `profile prod of ${project}`,
      timeout: `profile prod of ${user}`,
      layout: project,
    });
    expect((await resolveSettings({}, project, "test")).values.retries).toBe(3);
    expect((await resolveSettings({}, project)).values.retries).toBe(3);
  });

  test("the environment and flags have precedence over a profile", async () => {
    const project = config("profiles: {prod: {retries: 33, timeout: 44}}\n");
    vi.stubEnv("DROVER_RETRIES", "4");
    const { values, places } = await resolveSettings({ timeout: "5" }, project, "prod");
    expect(values).toMatchObject({ retries: 4, timeout: 5 });
    expect(places).toMatchObject({ retries: "DROVER_RETRIES", timeout: "" });
  });

  test.for<[string, string]>([
    ["profiles: {prods: {}}", "there is no profile prod (FILE): did you mean prods?"],
    ["retries: 1", "there is no profile prod (FILE)"],
    [
      "profiles: {prod: {retrys: 1}}",
      "unknown setting retrys in profile prod of FILE: did you mean retries?",
    ],
    [
      "profiles: {test: {retrys: 1}}",
      "unknown setting retrys in profile test of FILE: did you mean retries?",
    ],
    [
      "profiles: {prod: {retries: x}}",
      'retries in profile prod of FILE must be a whole number from 1 to 1000, not "x"',
    ],
    ["profiles: [prod]", 'profiles of FILE must hold "name: value" lines'],
    ["profiles: {prod: 5}", 'profile prod of FILE must hold "name: value" lines'],
    ["profiles: {prod: {profiles: {}}}", "unknown setting profiles in profile prod of FILE"],
  ])("what makes no sense is refused: %s", async ([text, message]) => {
    const file = config(`${text}\n`);
    await expect(resolveSettings({}, file, "prod")).rejects.toThrow(message.replace("FILE", file));
  });

  test("a profile without any file is refused", async () => {
    await expect(resolveSettings({}, undefined, "prod")).rejects.toThrow(
      "there is no profile prod (there is no settings file)",
    );
  });
});

describe("drover config", () => {
  test("hides secrets, and shows the origin of each value", async () => {
    vi.stubEnv("REDIS_URL", "rediss://user:CANARY@host:6380/1");
    const shown = showSettings(await resolveSettings({ retries: "3", bwlimit: "2k" }, undefined));
    expect(JSON.stringify(shown)).not.toContain("CANARY");
    const by = Object.fromEntries(shown.map((each) => [each.name, each]));
    expect(Object.keys(by).sort()).toEqual(Object.keys(SETTINGS).sort());
    expect(by.redis).toMatchObject({ origin: "environment", value: "rediss://***@host:6380/1" });
    expect(by.redis?.place).toBe("REDIS_URL");
    expect(by.retries).toMatchObject({ origin: "flag", value: "3", place: "" });
    expect(by.bwlimit).toMatchObject({ value: "2000 bytes" });
    expect(by["max-file-size"]).toMatchObject({ origin: "default", value: "(none)" });
  });
});

describe("what objects are to have", () => {
  test("takes pairs from repeated flags, from lines of a variable, and from a list in a file", async () => {
    const flags = { "s3-metadata": ["owner=ann", "note=a=b, c"], "s3-part-size": "64M" };
    vi.stubEnv("DROVER_S3_TAGS", "team=data\nstage=");
    const { values } = await resolveSettings(flags, config("s3-storage-class: STANDARD_IA\n"));
    expect(values).toMatchObject({
      "s3-metadata": { owner: "ann", note: "a=b, c" },
      "s3-tags": { team: "data", stage: "" },
      "s3-part-size": 64 << 20,
      "s3-storage-class": "STANDARD_IA",
    });
    vi.stubEnv("DROVER_S3_TAGS", undefined);
    const file = config("s3-tags:\n  - team=data\n  - stage=live\n");
    const resolved = await resolveSettings({}, file);
    expect(resolved.values["s3-tags"]).toEqual({ team: "data", stage: "live" });
    expect(showSettings(resolved).find(({ name }) => name === "s3-tags")?.value).toBe(
      "team=data, stage=live",
    );
  });

  test.for([
    ["s3-metadata", "owner", "--s3-metadata must be KEY=VALUE"],
    ["s3-tags", ["a=1", "a=2"], "--s3-tags must be KEY=VALUE with a once"],
    ["s3-part-size", "4M", "--s3-part-size must be a size from 5M to 5G"],
    ["s3-part-size", "6G", "--s3-part-size must be a size from 5M to 5G"],
    ["s3-sse", "aes", "--s3-sse must be AES256 or aws:kms"],
    ["s3-acl", "everybody", "--s3-acl must be private or public-read"],
  ] as const)("refuses --%s %s", async ([name, value, why]) => {
    await expect(resolveSettings({ [name]: value }, undefined)).rejects.toThrow(why);
  });

  test.for([
    [{ "s3-metadata": ["mtime=1"] }, "--s3-metadata: drover-sha256, mtime, mode, md5chksum are written by"],
    [{ "s3-metadata": ["Owner=1"] }, "--s3-metadata: keys are in lower case"],
    [{ "s3-metadata": ["owner=ü"] }, "--s3-metadata owner: printable ASCII"],
    [{ "s3-tags": ["aws:x=1"] }, "--s3-tags: keys that begin with aws:"],
    [{ "s3-storage-class": "a b" }, "--s3-storage-class: a name such as STANDARD_IA"],
    [{ "s3-sse-kms-key-id": "k" }, "--s3-sse-kms-key-id names a key of KMS: it needs --s3-sse aws:kms"],
  ] as const)("refuses %o of a run", async ([flags, why]) => {
    const resolved = await resolveSettings({ ...flags, "artifact-root": "s3://bucket/to" }, undefined);
    await expect(planRun(requestOf(["https://example.com/a"], {}, resolved))).rejects.toThrow(why);
  });

  test("is refused as a flag where the destination is not in S3, and waits in the environment", async () => {
    const flags = { "s3-storage-class": "STANDARD_IA", "artifact-root": "out" };
    const request = requestOf(["https://example.com/a"], {}, await resolveSettings(flags, undefined));
    await expect(planRun(request)).rejects.toThrow(
      /^--s3-storage-class is for objects of S3, and .* is none/,
    );
    vi.stubEnv("DROVER_S3_STORAGE_CLASS", "STANDARD_IA");
    const resolved = await resolveSettings({ "artifact-root": "out" }, undefined);
    const { spec } = await planRun(requestOf(["https://example.com/a"], {}, resolved));
    expect(spec.s3Objects).toBeUndefined();
    const toS3 = await resolveSettings({ "artifact-root": "s3://bucket/to" }, undefined);
    const planned = await planRun(requestOf(["https://example.com/a"], {}, toS3));
    expect(planned.spec.s3Objects).toEqual({ storageClass: "STANDARD_IA" });
  });
});
