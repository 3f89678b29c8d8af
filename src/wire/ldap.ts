import { written } from "../config/values.ts"
import { GatewayError } from "../errors.ts"
import type { StandIns } from "../identity/stand-ins.ts"
import { LdapListener } from "../ldap-in/listener.ts"
import type { Certificates, Devices, Found } from "../ldap-in/ports.ts"
import { type Address, addressKey, parseAddress } from "../message/address.ts"
import type { Discovery } from "../profiles/discover.ts"
import { type PolicyRules, policyFor } from "../profiles/policy.ts"
import { ownCertificate, standInOffer } from "../profiles/stand-in.ts"
import type { Account } from "../store/account.ts"
import type { Core } from "./core.ts"
import type { LiveDevices } from "./devices.ts"
import type { Listener } from "./listener.ts"
import { claim, SHARES_PORTS } from "./shared-ports.ts"
import { standInsOf } from "./stand-ins.ts"
import type { LiveTls } from "./tls.ts"

/** What the directory for clients stands on. */
interface LdapParts {
  readonly devices: LiveDevices
  readonly tls: LiveTls
  readonly correspondents: Discovery
}

/** The directories that clients ask for certificates, where the configuration names them. */
export async function startLdap(core: Core, parts: LdapParts, held: ReadonlySet<string>): Promise<Listener[]> {
  const started: Listener[] = []
  for (const name of ["ldap", "ldaps"] as const) {
    const listen = core.config.listen[name]
    if (!listen) continue
    const { host, port } = await claim(name, listen, held)
    const { limits, domains, hostname } = core.config
    const listener = await LdapListener.start({
      host,
      port,
      sharesPort: SHARES_PORTS,
      security: name === "ldaps" ? "tls" : "starttls",
      tls: parts.tls.current,
      maxConnections: limits.smtpConnections,
      maxConnectionsPerAddress: limits.smtpConnectionsPerNetwork,
      devices: devicesOf(parts.devices),
      certificates: certificatesOf(core, parts.correspondents, core.config.keys.standIns ? standInsOf(core) : null),
      base: `o=${domains[0] ?? hostname}`,
      allowsAnonymous: false,
      log: core.log,
    })
    parts.tls.onChange((changed) => listener.use(changed))
    const close = () => listener[Symbol.asyncDispose]()
    started.push({ name, where: written({ host, port: listener.port }), close })
  }
  return started
}

function devicesOf(devices: LiveDevices): Devices {
  return {
    async authenticate(username, password, remote) {
      const found = await devices.authenticate({ username, password, remote })
      return found === null || found === "limited" ? found : { account: found.account.address }
    },
  }
}

/** @param standIns null: none are given out */
function certificatesOf(
  { people, config }: Pick<Core, "people" | "config">,
  correspondents: Discovery,
  standIns: Pick<StandIns, "of"> | null,
): Certificates {
  const parts = { correspondents, rules: config.policy.outgoing, standIns }
  return {
    async find(address, account) {
      const meaning = people.resolve(address)
      if (meaning.kind === "unknown") return null
      if (meaning.kind === "foreign") return foreign(address, account, parts)
      // Of an address that leads to several nobody's certificate is good for all.
      const [only, another] = [...meaning.accounts, ...meaning.forwards]
      const found = typeof only !== "string" || another !== undefined ? null : people.account(only)
      return found === null ? null : ours(found)
    },
  }
}

function ours({ name, keys, intermediate, root }: Account): Found | null {
  const current = keys.filter((key) => key.format === "smime" && key.current)
  if (current.length === 0) return null
  return { name, certificates: current.map(({ certificate }) => certificate), chain: [intermediate, root] }
}

/** What certificates for people elsewhere come from. */
interface ForeignParts {
  readonly correspondents: Pick<Discovery, "resolve" | "used">
  readonly rules: PolicyRules
  readonly standIns: Pick<StandIns, "of"> | null
}

/** The key that mail of this account would be encrypted to, and no other; for those who have none a stand-in, where policy lets one be used. */
async function foreign(
  address: Address,
  account: string | null,
  { correspondents, rules, standIns }: ForeignParts,
): Promise<Found | null> {
  const sender = account === null ? null : parseAddress(account)
  const stated = policyFor({ sender, recipient: address, subject: "", fields: () => [] }, rules)
  const resolution = await correspondents.resolve(address)
  const own = ownCertificate(resolution, stated)
  if (own !== null) {
    // What the client encrypts to it leaves as it is, and is not decided about again.
    correspondents.used(resolution, own)
    return { name: null, certificates: [own.octets], chain: own.chain }
  }
  if (resolution.unanswered.length > 0)
    throw new GatewayError("KEY_SOURCE_SILENT", `ldap: no answer about ${addressKey(address)}`)
  // Whoever asks without a name has no mail that it could be for.
  if (account === null || standIns === null || !standInOffer(stated, resolution).isOffered) return null
  const found = standIns.of(account, address)
  return found && { name: found.name, certificates: [found.certificate], chain: [found.authority] }
}
