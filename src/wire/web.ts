import type { Config, ListenAddress } from "../config/config.ts"
import { startAdminHttp } from "../http/admin.ts"
import { startPlainHttp } from "../http/plain.ts"
import { reloadPublicTls, startPublicHttp } from "../http/public.ts"
import { stsPolicyText } from "../message/published-sts.ts"
import type { Discovery } from "../profiles/discover.ts"
import type { WorkQueue } from "../queue/queue.ts"
import { MeshAccounts } from "../store/mesh-accounts.ts"
import { PendingChallenges, startAcme } from "./acme.ts"
import type { StoreHeld } from "./attempts.ts"
import { contactApiOf } from "./contact-api.ts"
import type { Core } from "./core.ts"
import { diagnosisOf } from "./diagnosis.ts"
import type { ImapProcesses } from "./imap-processes.ts"
import { type Listener, named } from "./listener.ts"
import { meshShelfOf } from "./mesh-bulk.ts"
import { meshReceivers } from "./mesh-receivers.ts"
import { meshDoorOf } from "./mesh-service.ts"
import { askersOf, publishedKeys } from "./published.ts"
import { claim, SHARES_PORTS } from "./shared-ports.ts"
import { adminSource } from "./status.ts"
import type { LiveTls } from "./tls.ts"

const HTTPS_PORT = 443

/** What the HTTP servers need beside the core. */
interface WebParts {
  readonly queue: WorkQueue
  readonly correspondents: Discovery
  readonly tls: LiveTls
  readonly storeHeld: StoreHeld | null
}

/** The HTTP servers that the configuration names and the roles allow; administration has every process that has a place for it. */
export async function* startWeb(
  core: Core,
  parts: WebParts,
  imap: ImapProcesses | null,
  held: ReadonlySet<string>,
): AsyncGenerator<Listener> {
  const { config, roles } = core
  const { https, http, admin } = config.listen
  if (roles.has("http") && https) yield await startPublic(core, parts, await claim("https", https, held))
  if (roles.has("http") && http) yield await startPlain(core, parts.tls, await claim("http", http, held))
  if (admin) yield await startAdmin(core, parts, imap, await claim("admin", admin, held))
}

async function startPublic(
  core: Core,
  { tls, queue, storeHeld, correspondents }: WebParts,
  listen: ListenAddress,
): Promise<Listener> {
  const atOnce = storeHeld && { store: storeHeld, passed: queue.passed.bind(queue) }
  const server = await startPublicHttp({
    ...listen,
    sharesPort: SHARES_PORTS,
    tls: tls.current,
    keys: publishedKeys(core.people, core.config.domains, new MeshAccounts(core.database)),
    askers: askersOf(core),
    clients: { domains: core.config.domains, services: core.config.clients },
    stsPolicy: stsPolicyOf(core.config),
    mesh: meshDoorOf(core, (host) => meshReceivers(core, host, { queue, atOnce, correspondents })),
    shelf: meshShelfOf(core),
    log: core.log,
  })
  tls.onChange((changed) => reloadPublicTls(server, changed))
  return { name: "https", where: server.listeningOrigin.replace(/^https?:\/\//, ""), close: () => server.close() }
}

function stsPolicyOf({ hostname, policy }: Config): string | null {
  return policy.mtaSts === "off" ? null : stsPolicyText({ mode: policy.mtaSts, mx: hostname })
}

/** HTTP in clear; where certificates come from a CA it is asked from here, since its challenges are answered here. */
async function startPlain(core: Core, tls: LiveTls, listen: ListenAddress): Promise<Listener> {
  const { config } = core
  const challenges = new PendingChallenges()
  const port = config.clients.https?.port
  const server = await startPlainHttp({
    ...listen,
    sharesPort: SHARES_PORTS,
    challenge: (token) => challenges.find(token),
    https: port === undefined ? null : `${config.hostname}${port === HTTPS_PORT ? "" : `:${port}`}`,
  })
  const acme = config.tls.acme === null ? null : startAcme(core, config.tls.acme, tls, challenges)
  const close = async (): Promise<void> => {
    // First: an order whose challenge finds nobody would count as failed.
    await acme?.[Symbol.asyncDispose]()
    await server.close()
  }
  return named("http", { address: server.address, close })
}

async function startAdmin(
  core: Core,
  { queue, correspondents }: WebParts,
  imap: ImapProcesses | null,
  listen: ListenAddress,
): Promise<Listener> {
  const source = adminSource(core, queue, imap)
  const diagnosis = diagnosisOf(core, correspondents)
  const names = [core.config.hostname, listen.host.toLowerCase(), ...core.config.adminNames]
  const hasMesh = core.config.mesh.service !== null && core.roles.has("http")
  const contacts = hasMesh ? contactApiOf(core) : null
  const { log } = core
  const server = await startAdminHttp({ ...listen, names, sharesPort: SHARES_PORTS, source, diagnosis, contacts, log })
  return { name: "admin", where: server.listeningOrigin.replace(/^https?:\/\//, ""), close: () => server.close() }
}
