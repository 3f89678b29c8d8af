import type { Signer } from "../../src/crypto/dare/signature.ts"
import type { JsonValue } from "../../src/crypto/jsonb/value.ts"
import type { Writable } from "../../src/crypto/jsonb/write.ts"
import { silentLog } from "../../src/log/log.ts"
import { type MeshAnswer, readAnswer } from "../../src/mesh/protocol/answer.ts"
import type { Operation } from "../../src/mesh/protocol/operation.ts"
import { type RequestTerms, requestDigest, writeRequest } from "../../src/mesh/protocol/request.ts"
import { type Handlers, type MeshService, meshService } from "../../src/mesh-in/service.ts"
import { MeshRequests } from "../../src/store/mesh-requests.ts"
import { MeshStores } from "../../src/store/mesh-stores.ts"
import { openState } from "../../src/store/state.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { answering, carol, home, NOON, terms } from "../mesh/protocol-world.ts"
import { insertMeshAccounts } from "../store/conformance/mesh-stores.ts"

/** A state in a folder of its own. */
export async function openedState() {
  const folder = await temporaryFolder()
  const state = openState({ data: folder.path, store: { kind: "embedded" } })
  return {
    state,
    async [Symbol.asyncDispose]() {
      state.close()
      await folder[Symbol.asyncDispose]()
    },
  }
}

/** What a service takes that Carol's account lies with. */
export async function carolsHome(maxOctets = 1_000_000) {
  const opened = await openedState()
  insertMeshAccounts(opened.state, carol.profile.address)
  return {
    opened,
    accounts: {
      of: (address: string) => (address === carol.profile.address ? { address, profile: carol.profile } : null),
    },
    stores: new MeshStores(opened.state, maxOctets),
    seen: new MeshRequests(opened.state),
  }
}

/** What is asked, and what differs from a request that is in order. */
export interface Asking {
  readonly members?: { readonly [name: string]: Writable | undefined }
  readonly signers?: readonly Signer[]
  readonly terms?: Partial<RequestTerms>
  readonly network?: string
}

/** A service at noon, asked and answering in octets. */
export function asked(handlers: Handlers, clock: { now: Date } = { now: NOON }) {
  const service: MeshService = meshService({ own: answering, handlers, now: () => clock.now, log: silentLog() })
  const send = async (operation: Operation, octets: Uint8Array, network?: string): Promise<MeshAnswer> => {
    const answer = await service(octets, network)
    if (answer === null) throw new Error("no answer")
    return readAnswer(answer.octets, { operation, digest: requestDigest(octets) }, home.profile)
  }
  return {
    service,
    send,
    ask: (operation: Operation, { members = {}, signers = [], terms: changes = {}, network }: Asking = {}) =>
      send(operation, writeRequest(operation, members, terms(changes), signers), network),
  }
}

/** What a value of JSON is, for comparing. */
export function plain(value: JsonValue | undefined): unknown {
  if (value === undefined) return undefined
  switch (value.kind) {
    case "object":
      return Object.fromEntries([...value.members].map(([name, member]) => [name, plain(member)]))
    case "array":
      return value.items.map(plain)
    case "string":
      return value.text
    case "data":
      return value.octets
    case "integer":
      return Number(value.value)
    case "null":
      return null
    default:
      return value.value
  }
}
