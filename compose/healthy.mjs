/** Exits with 0 if the URL answers with a status of 2xx within 3 seconds, else with 1. For health checks: the image has no curl. */
const answer = await fetch(process.argv[2], { signal: AbortSignal.timeout(3_000) }).catch(() => undefined);
process.exit(answer?.ok ? 0 : 1);
