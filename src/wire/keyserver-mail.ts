import { dnsAddresses } from "../net/addresses.ts"
import { webClient } from "../net/web.ts"
import { answeringKeyservers } from "../pipeline/arriving/keyserver-mail.ts"
import type { KeyserverMail } from "../pipeline/ports.ts"
import { confirmAtVks } from "../profiles/sources/vks-confirm.ts"
import { KeyserverRequests } from "../store/keyserver-requests.ts"
import type { Core } from "./core.ts"

/** Answers the mail of keyservers that `postern profile publish` had write to one of our people. */
export function keyserverMailOf({ config, database, now, log }: Core): KeyserverMail {
  const ask = webClient({ resolve: dnsAddresses(config.dns.servers), timeoutMs: TIMEOUT_MS })
  return answeringKeyservers({
    requests: new KeyserverRequests(database),
    confirm: ({ host, fingerprint }, address, token) =>
      confirmAtVks({ host, ask }, address, { token, fingerprint }, AbortSignal.timeout(2 * TIMEOUT_MS)),
    now,
    log,
  })
}

/** Of each of two questions. The message has been stored by then; a link that nobody follows again deserves some patience. */
const TIMEOUT_MS = 10_000
