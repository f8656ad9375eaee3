import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test as base } from "vitest";
import { Sandbox } from "./drover.js";
import { FakeS3 } from "./fake-s3.js";
import { FaultOrigin } from "./fault-origin.js";
import { TestFleet } from "./fleet.js";

/** A directory of one test: what it syncs from and to. */
export class Work {
  readonly path: string;
  readonly out: string;

  constructor(path: string) {
    this.path = path;
    this.out = join(path, "out");
  }

  /** Options that put files right below {@link out}. */
  get into(): string[] {
    return ["--artifact-root", this.out, "--script-name", ""];
  }

  /** Writes files, given by relative path, and answers with the path of the last one. */
  write(files: Readonly<Record<string, string | Buffer>>): string {
    let path = this.path;
    for (const [name, data] of Object.entries(files)) {
      path = join(this.path, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, data);
    }
    return path;
  }

  at(...parts: string[]): string {
    return join(this.path, ...parts);
  }

  to(...parts: string[]): string {
    return join(this.out, ...parts);
  }
}

interface Fixtures {
  /** One per test file: its commands share state and the embedded Redis, as those of one user do. */
  box: Sandbox;
  /** One per test. */
  origin: FaultOrigin;
  /** One per test. */
  work: Work;
  /** A fleet of the test's own that writes below {@link Work.out}; it has no worker yet. */
  fleet: TestFleet;
}

export const it = base.extend<Fixtures>({
  box: [
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
    async ({}, use) => {
      const box = new Sandbox();
      await use(box);
      await box.dispose();
    },
    { scope: "file" },
  ],
  // biome-ignore lint/correctness/noEmptyPattern: see above
  origin: async ({}, use) => {
    const origin = await FaultOrigin.start();
    await use(origin);
    await origin.stop();
  },
  work: async ({ box }, use) => {
    await use(new Work(box.work()));
  },
  fleet: async ({ box, work }, use) => {
    mkdirSync(work.out, { recursive: true });
    const fleet = await TestFleet.start(box, [work.out]);
    await use(fleet);
    await fleet.stop();
  },
});

/** The same, and an S3 service in this process, one per test, that does what the test wants. */
export const itWithFakeS3 = it.extend<{ s3: FakeS3 }>({
  // biome-ignore lint/correctness/noEmptyPattern: see above
  s3: async ({}, use) => {
    const s3 = await FakeS3.start();
    await use(s3);
    await s3.stop();
  },
});
