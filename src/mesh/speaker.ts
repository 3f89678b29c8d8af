/** PURE */
import type { EnvelopeEnd } from "../crypto/dare/envelope.ts"
import type { Signer } from "../crypto/dare/signature.ts"
import { type ConnectionDevice, verifyConnectionDevice } from "./connection.ts"
import { ROLE_MESSAGE, ROLE_SEND_MAIL } from "./mail/check.ts"
import type { ProfileUser } from "./profile.ts"
import { checkSigned, untrusted } from "./signed.ts"

/** Who signed in an account's name: whoever holds the account's own key, or a device that its administrator has connected. */
export type Speaker =
  | { readonly via: "person" }
  | { readonly via: "gateway" | "device"; readonly connection: ConnectionDevice }

/** Who signs for an account. `connection`: the ConnectionDevice that says that he may; null: it is the account's own key. */
export interface SpeakingFor {
  readonly signer: Signer
  readonly connection: Uint8Array | null
}

/**
 * Finds out who signed for an account.
 * @param connection as it came with what was signed; null: none did
 * @throws GatewayError MESH_UNTRUSTED: nobody of the account, or a device that may not; MESH_EXPIRED; MESH_OBJECT_INVALID; as `readSigned`
 */
export function speakerOf(end: EnvelopeEnd, account: ProfileUser, connection: Uint8Array | null, now: Date): Speaker {
  if (connection === null) {
    checkSigned(end, account.keys.signature)
    return { via: "person" }
  }
  const device = verifyConnectionDevice(connection, account, now)
  checkSigned(end, device.keys.signature)
  if (device.roles.includes(ROLE_SEND_MAIL)) return { via: "gateway", connection: device }
  if (device.roles.includes(ROLE_MESSAGE)) return { via: "device", connection: device }
  throw untrusted("device may not speak for its account")
}
