import { memberOf, octetsOf, textOf } from "../crypto/jsonb/value.ts"
import {
  type ConnectionRequest,
  makeAcknowledgement,
  readAcknowledgement,
  readConnectionRequest,
} from "../mesh/connecting.ts"
import { envelopeIdOf, responseIdOf } from "../mesh/message-id.ts"
import { invalid, requiredMember } from "../mesh/object.ts"
import type { Reply } from "../mesh/protocol/answer.ts"
import { callingDevice } from "../mesh/protocol/check.ts"
import type { MeshRequest } from "../mesh/protocol/request.ts"
import { checkSigned, readSigned } from "../mesh/signed.ts"
import { type AccountParts, accountIn, isReplayed } from "./account-call.ts"
import { type ConnectAsking, type ConnectRoom, connectDenial } from "./connect-room.ts"
import type { ServedAccount } from "./ports.ts"
import { done, refusal } from "./reply.ts"
import type { Handlers, OwnService } from "./service.ts"

/** What connecting a device takes. */
export interface ConnectParts extends AccountParts, Omit<ConnectRoom, "stores"> {
  readonly own: OwnService
  readonly random: (octets: number) => Uint8Array
  /** Entries of a store since a time. */
  readonly countSince: (account: string, store: string, since: Date) => number
}

/**
 * A new device asks to be connected, and comes again for the answer. Requests lie in a store of their own, which the account's devices read and nobody else fills; the answer is
 * in Local, where an administrator's device has put it.
 */
export function connectHandlers(parts: ConnectParts): Handlers {
  return {
    Connect: (request, now, network) => {
      const account = accountIn(parts.accounts, request)
      return account === null ? refusal("AccountUnknown") : connect(parts, account, { request, now, network })
    },
    Complete: (request, now) => {
      const account = accountIn(parts.accounts, request)
      return account === null ? refusal("AccountUnknown") : complete(parts, account, request, now)
    },
  }
}

/** What was asked, and from where. */
interface Asked {
  readonly request: MeshRequest
  readonly now: Date
  readonly network: string | null
}

/** `EnvelopedRequestConnection`; the request to us is signed by the same device. */
async function connect(parts: ConnectParts, account: ServedAccount, { request, now, network }: Asked): Promise<Reply> {
  const envelope = requiredMember(request.members, "EnvelopedRequestConnection", octetsOf)
  if (envelope.length > MAX_REQUEST_OCTETS) return refusal("TooLarge")
  const asked = readConnectionRequest(envelope)
  const denied = await deniedTo(parts, asked, request, now)
  if (denied !== null) return denied
  if (parts.accounts.of(asked.accountAddress)?.address !== account.address)
    throw invalid("connection is to another account")
  const before = answered(parts, account, asked)
  if (before !== null) return before
  const admission = memberOf(request.members, "Admission", octetsOf) ?? null
  const full = await fullness(parts, { account, asked, network, admission, now })
  // While this one was counted, another of the same name may have been kept.
  return answered(parts, account, asked) ?? full ?? kept(parts, account, asked, now)
}

function kept(parts: ConnectParts, account: ServedAccount, asked: ConnectionRequest, now: Date): Reply {
  const content = makeAcknowledgement(asked, account.profile, parts.random(16), parts.own.signer, now)
  const entries = [{ name: responseIdOf(asked.messageId), content }]
  const result = parts.stores.append(account.address, [{ store: CONNECT, expected: null, entries }], now)
  return result.kind === "appended" ? acknowledged(account, content) : refusal("Later")
}

/** Counted before it is kept: of many that come at once each is one. @returns null: there is room */
async function fullness(parts: ConnectParts, asking: ConnectAsking): Promise<Reply | null> {
  const { account, network, now } = asking
  const today = () => parts.countSince(account.address, CONNECT, new Date(now.getTime() - DAY_MS))
  const key = network === null ? null : `${account.address} ${network}`
  const ofNetwork = key === null ? 0 : await parts.networks.of(key)
  const full = connectDenial(parts, asking, { today: today(), ofNetwork })
  if (full !== null || key === null) return full
  const withThis = (await parts.networks.add(key)) ?? 1
  return connectDenial(parts, asking, { today: today(), ofNetwork: withThis - 1 })
}

/** Whoever asks the same again hears the same; another device does not ask under that name. @returns null: nobody has asked under it */
function answered({ stores, own }: ConnectParts, account: ServedAccount, asked: ConnectionRequest): Reply | null {
  const before = stores.newest(account.address, CONNECT, responseIdOf(asked.messageId))
  if (before === null) return null
  const { request } = readAcknowledgement(before, account.profile, own.profile)
  const isSame = Buffer.compare(request.envelope, asked.envelope) === 0
  return isSame ? acknowledged(account, before) : refusal("Refused", "this MessageId has been used")
}

function acknowledged({ profile }: ServedAccount, content: Uint8Array): Reply {
  return done({ EnvelopedAcknowledgeConnection: content, EnvelopedProfileAccount: profile.envelope })
}

/** `ResponseId`, which only who has asked knows; and only the device that has asked is told. */
async function complete(parts: ConnectParts, account: ServedAccount, request: MeshRequest, now: Date): Promise<Reply> {
  const responseId = requiredMember(request.members, "ResponseId", textOf)
  const kept = parts.stores.newest(account.address, CONNECT, responseId)
  if (kept === null) return refusal("NotFound")
  const denied = await deniedTo(
    parts,
    readAcknowledgement(kept, account.profile, parts.own.profile).request,
    request,
    now,
  )
  if (denied !== null) return denied
  const answer = parts.stores.newest(account.address, "Local", envelopeIdOf(responseId))
  if (answer === null) return refusal("Later", "nobody has answered yet")
  const { members, end } = readSigned(answer, ["RespondConnection"])
  checkSigned(end, account.profile.keys.administrator)
  if (requiredMember(members, "MessageId", textOf) !== responseId) return refusal("NotFound")
  return done({ EnvelopedRespondConnection: answer, EnvelopedProfileAccount: account.profile.envelope })
}

async function deniedTo(
  parts: ConnectParts,
  { device }: ConnectionRequest,
  request: MeshRequest,
  now: Date,
): Promise<Reply | null> {
  const caller = callingDevice(request, device, now)
  if (caller.kind === "refused") return refusal(caller.outcome)
  return (await isReplayed(parts, request, now)) ? refusal("Replayed") : null
}

/** Ours: in the drafts these are in Inbound. */
export const CONNECT = "Connect"
/** A device's profile and a signature are 5 KB; what the service keeps has it in base64url. */
const MAX_REQUEST_OCTETS = 16_384
const DAY_MS = 86_400_000
