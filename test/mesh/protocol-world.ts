import { signerWith } from "../../src/mesh/key-data.ts"
import { ROLE_MESSAGE } from "../../src/mesh/mail/check.ts"
import { serviceKeys } from "../../src/mesh/profile-make.ts"
import type { RequestTerms } from "../../src/mesh/protocol/request.ts"
import { account, connectedDevice, service } from "./people.ts"

/** Asks. */
export const peer = service(60)
/** Is asked. */
export const home = service(70)
export const stranger = service(80)
export const carol = account("carol@two.example", 4, home.profile.udf)
export const phone = connectedDevice(carol, 90, [ROLE_MESSAGE])
export const NOON = new Date("2026-11-26T12:00:00Z")

export const signerOf = (of: ReturnType<typeof service>) => signerWith(serviceKeys(of.seed).signature)
export const answering = { profile: home.profile, signer: signerOf(home) }
export const administratorSigner = signerWith(carol.administrator)
export const phoneSigner = signerWith(phone.keys.signature)

let nonces = 0
/** A new nonce each time. */
export function terms(changes: Partial<RequestTerms> = {}): RequestTerms {
  const nonce = new Uint8Array(16)
  new DataView(nonce.buffer).setUint32(0, ++nonces)
  return { target: home.profile.udf, time: NOON, nonce, ...changes }
}
