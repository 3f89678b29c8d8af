import { join } from "node:path"
import { hmacKey } from "../crypto/primitives/hash.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import type { MeshDoor } from "../http/mesh-service.ts"
import { workOf } from "../mesh/admission.ts"
import type { Outcome } from "../mesh/protocol/operation.ts"
import { MAX_REQUEST_OCTETS } from "../mesh/protocol/request.ts"
import { bindHandlers } from "../mesh-in/bind.ts"
import { claimHandlers } from "../mesh-in/claim.ts"
import { connectHandlers } from "../mesh-in/connect.ts"
import { helloOf } from "../mesh-in/hello.ts"
import { operateWith } from "../mesh-in/operate.ts"
import type { Receivers } from "../mesh-in/ports.ts"
import { postTo } from "../mesh-in/post.ts"
import { type Handlers, meshService } from "../mesh-in/service.ts"
import { storeHandlers } from "../mesh-in/stores.ts"
import { MeshAccounts } from "../store/mesh-accounts.ts"
import { type MeshHost, openConnectedHost } from "../store/mesh-host.ts"
import { MeshRequests } from "../store/mesh-requests.ts"
import { MeshStores } from "../store/mesh-stores.ts"
import { secret } from "../store/secrets.ts"
import type { Core } from "./core.ts"
import { membership, networkOf } from "./network.ts"
import { WindowCounter } from "./window-counter.ts"

type MeshCore = Pick<Core, "config" | "database" | "now" | "log" | "counters">

/** The Mesh service of this gateway; null: it has none, and nothing of it is made. `receiversOf`: what takes what other services post. */
export function meshDoorOf(core: MeshCore, receiversOf: (host: MeshHost) => Receivers): MeshDoor | null {
  const { config, database, now, log, counters } = core
  if (config.mesh.service === null) return null
  const host = openConnectedHost(config.secrets, new MeshAccounts(database), now())
  const { service: own } = host
  const handlers = handlersOf(core, own, config.mesh.service, receiversOf(host))
  const all = { Hello: helloOf(own, Object.keys(handlers)), ...handlers }
  const service = meshService({ own, handlers: all, now, log })
  const exempt = membership(config.policy.trusted)
  return {
    maxRequestOctets: MAX_REQUEST_OCTETS,
    mayAsk: askingNetworks(core),
    async answer(request, remote) {
      const answer = await service(request, exempt(remote) ? null : networkOf(remote))
      if (answer === null) return null
      const { octets, form, operation, outcomes } = answer
      for (const outcome of outcomes) counters.add("postern_mesh_requests_total", { operation, outcome })
      return { octets, form, guesses: outcomes.filter((outcome) => GUESSES.includes(outcome)).length }
    },
  }
}

/** Counted in memory, each network by itself; those of our own relays are not. */
function askingNetworks({ config, counters }: MeshCore): MeshDoor["mayAsk"] {
  const asked = new WindowCounter(MINUTE_MS, MAX_NETWORKS)
  const exempt = membership(config.policy.trusted)
  const most = config.limits.meshRequestsPerNetwork
  return async (remote) => {
    if (most === 0 || exempt(remote) || ((await asked.add(networkOf(remote))) ?? 0) <= most) return true
    counters.add("postern_http_limited_total", { limit: "mesh-requests" })
    return false
  }
}

function handlersOf(
  { config, database, log }: MeshCore,
  own: MeshHost["service"],
  address: string,
  receivers: Receivers,
): Handlers {
  const accounts = new MeshAccounts(database)
  const stores = new MeshStores(database, config.mesh.storageOctets)
  const parts = { accounts, stores, seen: new MeshRequests(database), own }
  return {
    Post: postTo({ ...parts, receivers, log }),
    ...storeHandlers(parts),
    ...connectHandlers({
      ...parts,
      random: randomOctets,
      countSince: (...of) => stores.countSince(...of),
      networks: new WindowCounter(DAY_MS, MAX_NETWORKS),
      admissionKey: hmacKey(secret(join(config.secrets, "mesh"), "admission")),
      workOf,
    }),
    ...bindHandlers({ ...parts, address, remove: (account) => accounts.remove(account) }),
    ...claimHandlers(parts),
    Operate: operateWith({ ...parts, keys: [own.opening] }),
  }
}

/** What nobody hears often who means it well. */
const GUESSES: readonly Outcome[] = ["AccountUnknown", "Forged", "Unsigned"]
const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
const MAX_NETWORKS = 10_000
