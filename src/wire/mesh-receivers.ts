import { sha256 } from "../crypto/primitives/hash.ts"
import { GatewayError } from "../errors.ts"
import type { MailProfile } from "../identity/mail-profile.ts"
import { envelopeIdOf } from "../mesh/message-id.ts"
import { isNameOf } from "../mesh/profile.ts"
import type { Receivers } from "../mesh-in/ports.ts"
import { parseAddress } from "../message/address.ts"
import type { KeepMail, KnownSender, MeshSenders } from "../pipeline/mesh/ports.ts"
import { receiveMail } from "../pipeline/mesh/receive.ts"
import type { Discovery } from "../profiles/discover.ts"
import { GroupCommit } from "../queue/group-commit.ts"
import { jobsFor, type Queue } from "../queue/queue.ts"
import { MeshAccounts } from "../store/mesh-accounts.ts"
import { openMeshHost } from "../store/mesh-host.ts"
import { KeptMeshMail } from "../store/mesh-mail.ts"
import { MeshStores } from "../store/mesh-stores.ts"
import type { Core } from "./core.ts"
import { mailProfiles } from "./mail-profiles.ts"

/** What takes messages that other services post, by their type. */
export function meshReceivers(core: Core, queue: Pick<Queue, "add">, correspondents: Discovery): Receivers {
  const { config, database, people, log } = core
  if (config.mesh.service === null) return new Map()
  const accounts = new MeshAccounts(database)
  const seen = new KeptMeshMail(database)
  const means = {
    senders: sendersOf(core, accounts, correspondents),
    seen,
    keep: keeping(core, queue, seen),
    certificatesOf: (address: string) => {
      const account = people.account(address)
      if (account?.formats[0] !== "smime") return null
      return account.keys.filter(({ format }) => format === "smime").map(({ certificate }) => sha256(certificate))
    },
    hostname: config.hostname,
    maxMailOctets: config.limits.messageSizeOctets,
    log,
  }
  return new Map([["MessageMail", (posted) => receiveMail(posted, means)]])
}

function sendersOf({ config, now }: Core, accounts: MeshAccounts, correspondents: Discovery): MeshSenders {
  const { accept } = config.mesh
  const profileIn = mailProfiles()
  const { device } = openMeshHost(config.secrets, now())
  const isOurs = (address: string) => config.domains.includes(parseAddress(address).domain)
  return {
    admits: (_recipient, sender) => accept.includes("everybody") || (accept.includes("organisation") && isOurs(sender)),
    async find(address, udf) {
      const own = accounts.of(address)
      if (own !== null) {
        return isNameOf(own.profile, udf) ? { profile: own.profile, gatewayDevice: device.profile.udf } : null
      }
      return foundSender(address, udf, correspondents, profileIn)
    },
  }
}

/** By the mail profile that the sender publishes, which is where mail to him would go as well. */
async function foundSender(
  address: string,
  udf: string,
  correspondents: Discovery,
  profileIn: (octets: Uint8Array) => MailProfile,
): Promise<KnownSender | null> {
  const { keys, unanswered } = await correspondents.resolve(parseAddress(address))
  const profiles = keys.filter(({ format }) => format === "mesh").map(({ octets }) => profileIn(octets))
  const found = profiles.find(({ profile }) => isNameOf(profile, udf))
  if (found !== undefined) {
    const overMesh = found.connection.find((one) => one.protocol === "Mesh")
    return { profile: found.profile, gatewayDevice: overMesh?.protocol === "Mesh" ? overMesh.deviceUdf : null }
  }
  if (profiles.length === 0 && unanswered.length > 0)
    throw new GatewayError("KEY_SOURCE_SILENT", `mesh: no answer about ${address}`)
  return null
}

/** Sealed spool and queue first; then what is remembered of it, and the original in the account's Inbound, where a verdict can be looked at again. */
function keeping({ spool, database, config, now, log }: Core, queue: Pick<Queue, "add">, seen: KeptMeshMail): KeepMail {
  const stores = new MeshStores(database, config.mesh.storageOctets)
  // What comes at the same time waits for the disk together.
  const commits = new GroupCommit(database)
  return async (entry, message, id, mail) => {
    await spool.write(entry, once(message), id)
    await queue.add(...jobsFor(id, entry.envelope, entry.receivedAt))
    const account = entry.origin.account ?? ""
    const name = envelopeIdOf(mail.messageId)
    const appended = await commits.run(() => {
      seen.add(mail, now())
      return stores.append(account, [{ store: INBOUND, expected: null, entries: [{ name, content: message }] }], now())
    })
    if (appended.kind !== "appended") log.warn("mesh.not-archived", { account, because: appended.kind })
  }
}

async function* once(octets: Uint8Array): AsyncGenerator<Uint8Array> {
  yield octets
}

const INBOUND = "Inbound"
