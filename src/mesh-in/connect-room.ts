import { readEnvelope } from "../crypto/dare/envelope.ts"
import { equalConstantTime, type HmacKey } from "../crypto/primitives/hash.ts"
import { GatewayError } from "../errors.ts"
import { isAdmitted, type StrangersLoad, writeChallenge } from "../mesh/admission.ts"
import type { ConnectionRequest } from "../mesh/connecting.ts"
import { envelopeIdOf } from "../mesh/message-id.ts"
import { pinWitness } from "../mesh/pin.ts"
import type { Reply } from "../mesh/protocol/answer.ts"
import { checkSigned, readSigned } from "../mesh/signed.ts"
import { messagePinIn } from "../mesh/spool-messages.ts"
import type { ServedAccount, Stores } from "./ports.ts"
import { refusal } from "./reply.ts"

/** What it takes to say whether a device may ask an account to connect it. */
export interface ConnectRoom {
  readonly stores: Pick<Stores, "newest">
  /** Requests of networks, each to one account, within a day. */
  readonly networks: {
    of(key: string): Promise<number>
    /** @returns the count with this one; null: nobody counts any more */
    add(key: string): Promise<number | null>
  }
  /** Octets that only this service has. */
  readonly admissionKey: HmacKey
  /** Bits of work that a request costs. */
  workOf(load: StrangersLoad): number
}

/** A request of a device that nobody here knows, which costs nothing to make. */
export interface ConnectAsking {
  readonly account: ServedAccount
  readonly asked: ConnectionRequest
  /** null: nobody says where it comes from. */
  readonly network: string | null
  /** What answers a challenge; null: there is none. */
  readonly admission: Uint8Array | null
  readonly now: Date
}

/** Requests to an account within a day, of whoever asks: a person connects a handful, and what was asked stands in his store. */
export const FREE_A_DAY = 16
/** With those that are worked for, from networks that have not asked yet. Some 20 KB each. */
export const STRANGERS_A_DAY = 64
/** With those that show a PIN of the account. */
export const MOST_A_DAY = 128
/** Of one network, without a PIN: a household that tries again. */
export const MOST_OF_NETWORK = 4

/**
 * Whether there is room for a request, when so many have come within a day, and so many of them of its network: nobody fills all of it from few networks, and who shows a PIN that the account
 * has given out finds room beside all strangers.
 * @returns null: there is
 */
export function connectDenial(
  room: ConnectRoom,
  asking: ConnectAsking,
  { today, ofNetwork }: { readonly today: number; readonly ofNetwork: number },
): Reply | null {
  if (isInvited(room, asking)) return today < MOST_A_DAY ? null : tooMany()
  if (ofNetwork >= MOST_OF_NETWORK || today >= STRANGERS_A_DAY) return tooMany()
  if (today < FREE_A_DAY) return null
  if (ofNetwork > 0) return tooMany()
  const { asked, account, admission, now } = asking
  const request = { message: asked.envelope, service: asked.device.udf, account: account.profile.udf }
  if (admission !== null && isAdmitted(admission, request, room.admissionKey, now)) return null
  const bits = room.workOf({ waiting: today, ofOrigin: 0, lately: 0 })
  return refusal("Admission", "", { Challenge: writeChallenge(request, bits, room.admissionKey, now) })
}

function tooMany(): Reply {
  return refusal("TooMany", "many devices want to be connected to this account")
}

/** It shows a PIN for devices that the account's administrator has put into Local, in time. Whether that is enough is for the account to say. */
function isInvited({ stores }: Pick<ConnectRoom, "stores">, { account, asked, now }: ConnectAsking): boolean {
  if (asked.pinId === null || asked.pinWitness === null) return false
  const kept = stores.newest(account.address, "Local", envelopeIdOf(asked.pinId))
  if (kept === null) return false
  try {
    const object = readSigned(kept, ["MessagePin"])
    checkSigned(object.end, account.profile.keys.administrator)
    const { action, expires, salted } = messagePinIn(object)
    if (action !== "Device" || expires <= now) return false
    const { payloadDigest } = readEnvelope(asked.device.envelope)
    const witness = pinWitness(salted, account.address, asked.clientNonce, payloadDigest)
    return equalConstantTime(witness, asked.pinWitness)
  } catch (error) {
    // What its own devices put there and is no PIN that can be read here invites nobody.
    if (error instanceof GatewayError) return false
    throw error
  }
}
