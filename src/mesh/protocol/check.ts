/** PURE */
import { signaturesOf } from "../../crypto/dare/envelope.ts"
import { memberOf, octetsOf } from "../../crypto/jsonb/value.ts"
import { GatewayError } from "../../errors.ts"
import { type ConnectionDevice, verifyConnectionDevice } from "../connection.ts"
import { checkTime, type NamedKey } from "../key-data.ts"
import { type Profile, type ProfileUser, verifyProfileService } from "../profile.ts"
import { checkSigned } from "../signed.ts"
import { isNamed, tried } from "../tried.ts"
import { BINDING_VERSION, type Outcome } from "./operation.ts"
import type { MeshRequest } from "./request.ts"

/** How long a request is good for, and for how long its nonce is remembered. */
export const REQUEST_LIFE_MS = 300_000
/** How far the clock of whoever asks may be ahead of ours. */
export const CLOCK_AHEAD_MS = 60_000

/** Whether a request is meant for this service, now. Whether it came before is the caller's to know: {@link replayKey}. @returns null: it is */
export function staleness(request: MeshRequest, service: Pick<Profile, "binaryUdf">, now: Date): Outcome | null {
  if (request.version !== BINDING_VERSION) return "Unsupported"
  if (!isAnybody(request) && !isNamed(service, request.target)) return "OtherTarget"
  const ageMs = now.getTime() - request.time.getTime()
  if (ageMs > REQUEST_LIFE_MS) return "Old"
  return ageMs < -CLOCK_AHEAD_MS ? "Future" : null
}

/** Who only knows an address asks there who it is. */
function isAnybody({ operation, target }: MeshRequest): boolean {
  return operation === "Hello" && target === ""
}

/** What a request is remembered by: the digest of what was signed, nonce and time in it. Its envelope could be written in other ways. */
export function replayKey({ end }: MeshRequest): Uint8Array {
  return end.payloadDigest
}

/** Until when the request could be sent again. */
export function rememberUntil({ time }: MeshRequest): Date {
  return new Date(time.getTime() + REQUEST_LIFE_MS + 1_000)
}

/** Who signed a request, or why nobody did. */
export type Caller<T> =
  | { readonly kind: "known"; readonly who: T }
  | { readonly kind: "refused"; readonly outcome: Outcome }

/**
 * The service that has signed: its profile is in the request, and is what its own name says. Which service may speak for whom is not asked here.
 * @param verify as `verifyProfileService` does
 */
export function callingService(
  request: MeshRequest,
  now: Date,
  verify: (envelope: Uint8Array) => Profile = (envelope) => verifyProfileService(envelope, null),
): Caller<Profile> {
  if (isUnsigned(request)) return refused("Unsigned")
  const profile = tried(() => {
    const envelope = memberOf(request.members, "EnvelopedProfileService", octetsOf)
    return envelope === null ? null : verify(envelope)
  })
  if (profile === null || profile instanceof GatewayError) return refused("Forged")
  return isSignedBy(request, profile.keys.signature, now) ? known(profile) : refused("Forged")
}

/** Whoever holds the account's administrator key, or a device that he has connected. What a device may do is another matter, and so is whether it was revoked. */
export type AccountCaller =
  | { readonly kind: "administrator" }
  | { readonly kind: "device"; readonly connection: ConnectionDevice }

/** Who of the account has signed. A device shows its ConnectionDevice (`EnvelopedConnectionDevice`); who does not is taken to be the administrator. */
export function callingAccount(request: MeshRequest, account: ProfileUser, now: Date): Caller<AccountCaller> {
  if (isUnsigned(request)) return refused("Unsigned")
  const envelope = tried(() => memberOf(request.members, "EnvelopedConnectionDevice", octetsOf))
  if (envelope instanceof GatewayError) return refused("Malformed")
  if (envelope === null)
    return isSignedBy(request, account.keys.administrator, now) ? known({ kind: "administrator" }) : refused("Forged")
  const connection = tried(() => verifyConnectionDevice(envelope, account, now))
  if (connection instanceof GatewayError) return refused("DeviceUnknown")
  return isSignedBy(request, connection.keys.signature, now) ? known({ kind: "device", connection }) : refused("Forged")
}

/** Whether a device has signed with the base key of its profile, as it does before it is connected. */
export function callingDevice(request: MeshRequest, device: Profile, now: Date): Caller<Profile> {
  if (isUnsigned(request)) return refused("Unsigned")
  return isSignedBy(request, device.keys.signature, now) ? known(device) : refused("Forged")
}

/** Whether this key's holder has signed the request, at a time when he might. */
function isSignedBy(request: MeshRequest, key: NamedKey, now: Date): boolean {
  return !(
    tried(() => {
      checkTime(key, now)
      checkSigned(request.end, key)
    }) instanceof GatewayError
  )
}

function isUnsigned({ end }: MeshRequest): boolean {
  return signaturesOf(end).length === 0
}

function known<T>(who: T): Caller<T> {
  return { kind: "known", who }
}

function refused<T>(outcome: Outcome): Caller<T> {
  return { kind: "refused", outcome }
}
