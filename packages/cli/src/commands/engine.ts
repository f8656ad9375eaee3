import type { Engine } from "@drover/shared/engine";
import type { Settings } from "../settings/settings.js";

/** Connects to the Redis of the settings, or to the embedded one, while `use` runs. */
export async function withEngine<T>(
  settings: Pick<Settings, "redis" | "state-dir">,
  use: (engine: Engine) => Promise<T>,
): Promise<T> {
  const { openEngine } = await import("@drover/shared/engine");
  const engine = await openEngine({ redis: settings.redis, stateDir: settings["state-dir"] as string });
  try {
    return await use(engine);
  } finally {
    engine.close();
  }
}
