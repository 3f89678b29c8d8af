import { equalConstantTime, hkdfSha512 } from "../primitives/hash.ts"
import { macUdf } from "./authenticator.ts"
import { encryptionKeyUdf, symmetricKeyId } from "./symmetric.ts"
import { dataOfUdf, presentUdf } from "./udf.ts"

/** Who checks a claim: the service that keeps the publication, or the device that made it. */
export type ClaimVerifier = "service" | "device"

/** The name of a publication that is encrypted under this key (CatalogedPublication.Id). */
export function publicationId(key: Uint8Array): string {
  return symmetricKeyId(key)
}

/** What the service keeps to check claims with (CatalogedPublication.Authenticator): it opens nothing, and says nothing of the device's. */
export function publicationAuthenticator(key: Uint8Array): string {
  return encryptionKeyUdf(claimKey(key, "service"))
}

/** What an account shows of the key when it claims a publication (MessageClaim): ServiceAuthenticate or DeviceAuthenticate, 140 bits. */
export function claimAuthenticator(key: Uint8Array, verifier: ClaimVerifier, claimant: string): string {
  return presentUdf(macUdf(claimKey(key, verifier), Buffer.from(claimant)))
}

/**
 * What the service checks a claim with: the authenticator that it keeps makes the same of the claimant.
 * @throws GatewayError UDF_MALFORMED for what is no authenticator
 */
export function isServiceClaim(authenticator: string, claimant: string, presented: string): boolean {
  const expected = presentUdf(macUdf(dataOfUdf(authenticator, "key"), Buffer.from(claimant)))
  return equalConstantTime(Buffer.from(expected), Buffer.from(presented))
}

function claimKey(key: Uint8Array, verifier: ClaimVerifier): Uint8Array {
  return hkdfSha512(key, "", `mmm/key/authenticate/${verifier}`, 32)
}
