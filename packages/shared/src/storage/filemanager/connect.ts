import { SettingsError } from "../../errors.js";
import type { HttpClient } from "../http/client.js";
import type { FileServer } from "../remote/server.js";
import { ReferenceServer } from "./reference.js";
import { FileManagerServer } from "./server.js";

/**
 * Opens a file manager. FILE_MANAGER_API of the environment says which requests it has: those of the contract, which is the
 * default, or `reference` for {@link ReferenceServer}.
 *
 * @throws SettingsError for another value.
 */
export function connectFileManager(http: HttpClient, root: string): FileServer {
  const api = process.env.FILE_MANAGER_API || "drover";
  if (api === "drover") return new FileManagerServer(http, root);
  if (api === "reference") return new ReferenceServer(http, root);
  throw new SettingsError(`FILE_MANAGER_API must be drover or reference, not ${JSON.stringify(api)}`);
}
