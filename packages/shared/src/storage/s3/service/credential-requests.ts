import { HttpClient } from "../../http/client.js";
import { type SdkRequest, sendSdkRequest } from "./sdk-requests.js";

/** Time limit for connecting to a service of credentials and for its answer, in milliseconds. */
const TIMEOUT_MS = 20_000;

/**
 * Sends the requests for credentials (STS, SSO), see {@link sendSdkRequest}. What asks this machine or its network for
 * credentials, as on EC2 and in containers, does not come here.
 */
export const credentialRequests = {
  metadata: { handlerProtocol: "http/1.1" },
  async handle(request: SdkRequest, { abortSignal }: { abortSignal?: AbortSignal } = {}) {
    const http = new HttpClient({ timeoutMs: TIMEOUT_MS, connections: 1, userAgent: undefined });
    try {
      return await sendSdkRequest(http, request, abortSignal ?? AbortSignal.timeout(2 * TIMEOUT_MS));
    } finally {
      await http.close();
    }
  },
  updateHttpClientConfig() {},
  httpHandlerConfigs: () => ({}),
};
