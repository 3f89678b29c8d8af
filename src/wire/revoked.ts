import type { CertificateIdentity } from "../crypto/cms/certificate.ts"
import { cmsRecogniser } from "../crypto/recryption/cms.ts"
import { RecryptionStream } from "../crypto/recryption/stream.ts"
import { GatewayError } from "../errors.ts"
import type { Recipient } from "../message/envelope.ts"
import { isLive } from "../store/account.ts"
import type { People } from "../store/people.ts"
import { identitiesOf } from "./recryptors.ts"

/**
 * Passes a message on, unless it is encrypted to a device of a recipient that was revoked: nobody could read it, so the sender hears
 * of it at once instead of nobody ever.
 * Throws GatewayError DEVICE_REVOKED behind the last octet.
 */
export function refuseRevoked(
  content: AsyncIterable<Uint8Array>,
  recipients: readonly Recipient[],
  people: People,
): AsyncIterable<Uint8Array> {
  const revoked = revokedIdentities(recipients, people)
  return revoked.length === 0 ? content : watched(content, revoked)
}

function revokedIdentities(recipients: readonly Recipient[], people: People): CertificateIdentity[] {
  return recipients.flatMap(({ address }) => {
    const meaning = people.resolve(address)
    const accounts = meaning.kind === "accounts" ? meaning.accounts : []
    return accounts
      .flatMap((account) => people.devices(account))
      .flatMap((device) => (isLive(device) ? [] : identitiesOf(device)))
  })
}

async function* watched(
  content: AsyncIterable<Uint8Array>,
  revoked: readonly CertificateIdentity[],
): AsyncGenerator<Uint8Array> {
  const stream = new RecryptionStream(revoked.map(cmsRecogniser))
  for await (const octets of content) {
    stream.push(octets)
    yield octets
  }
  stream.end()
  if (stream.counts.patched > 0)
    throw new GatewayError("DEVICE_REVOKED", "message is encrypted to a device that was revoked")
}
