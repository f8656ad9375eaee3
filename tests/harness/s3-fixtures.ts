import { FakeS3 } from "./fake-s3.js";
import { it as base } from "./fixtures.js";
import { realS3, TestS3 } from "./s3.js";

/** The real service that tests have, where there is one. See TestS3 for what the other takes for granted. */
export const real = await realS3();

interface Fixtures {
  /** A bucket of the test's own, of the real service where there is one. */
  s3: TestS3;
  /** A service in this process that does what the test wants. */
  fake: FakeS3;
}

export const it = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  s3: async ({}, use) => {
    const s3 = await TestS3.start(real);
    await use(s3);
    await s3.stop();
  },
  // biome-ignore lint/correctness/noEmptyPattern: see above
  fake: async ({}, use) => {
    const fake = await FakeS3.start();
    await use(fake);
    await fake.stop();
  },
});
