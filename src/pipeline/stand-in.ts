import { contentDecryptor } from "../crypto/cms/content-decryptor.ts"
import { type Addressee, addressees, contentKeyFor, type OpeningKey } from "../crypto/cms/recipient-infos.ts"
import { GatewayError } from "../errors.ts"
import type { Address } from "../message/address.ts"
import { HeaderSection } from "../mime/classify-header.ts"
import { type EnvelopeHead, EnvelopeMessage } from "../mime/envelope-message.ts"
import { MAX_HEADER_OCTETS } from "../mime/header.ts"
import { LineEndCheck } from "../mime/line-ends.ts"
import { openedHeader } from "../mime/opened-header.ts"
import type { SpoolEntry } from "../store/spool.ts"
import type { StandIns } from "./ports.ts"
import { atHand, behind, type Prepared, prefixed } from "./prepared.ts"
import { splitHeader } from "./protect.ts"

/** A message that its sender has encrypted, on its way to one recipient. */
export type Through =
  /** Not to a stand-in of this recipient's: it stays as it is. */
  | { readonly kind: "sealed" }
  /** To one, and it was opened. */
  | { readonly kind: "opened"; readonly message: Prepared; readonly hasWholeLines: boolean }
  /** To one, and it is not opened. `because`: a sentence for people. */
  | { readonly kind: "held"; readonly because: string }

/**
 * Opens what an account's client has encrypted to the stand-in that this gateway made for it and this recipient, and for nobody else. The message is read
 * twice before anything of it is given out: once for what it is encrypted to, once to see that all of it opens (padding, tag, structure); what is given
 * out is opened once more. Nothing of the content is held beyond {@link atHand}'s bound, and none of it touches a disk.
 * @throws GatewayError STAND_INS_CORRUPT, STAND_IN_UNUSABLE
 */
export async function throughStandIn(
  message: Prepared,
  { origin }: Pick<SpoolEntry, "origin">,
  recipient: Address,
  standIns: StandIns,
): Promise<Through> {
  // What others send is for those it is encrypted to, and we are none of them.
  if (origin.kind !== "submission" || origin.account === null) return SEALED
  const envelope = await envelopeOf(message)
  if (envelope === null) return SEALED
  const found = standIns.find(envelope.addressees, origin.account, recipient)
  if (found.kind === "none") return SEALED
  if (found.kind === "refused") return { kind: "held", because: found.because }
  try {
    return await opened(message, envelope.head, found.key)
  } catch (error) {
    // All failures look alike: which it was would tell whoever made the message more than he knows.
    if (error instanceof GatewayError && UNREADABLE.has(error.code)) return CANNOT_OPEN
    throw error
  }
}

/** @returns null for what is not one envelope, or cannot be read as one */
async function envelopeOf(
  message: Prepared,
): Promise<{ readonly head: EnvelopeHead; readonly addressees: readonly Addressee[] } | null> {
  const reading = new EnvelopeMessage()
  try {
    for await (const part of message.content()) reading.push(part)
    const head = reading.end()
    return { head, addressees: addressees(head.recipientInfos) }
  } catch (error) {
    if (error instanceof GatewayError && UNREADABLE.has(error.code)) return null
    throw error
  }
}

async function opened(message: Prepared, head: EnvelopeHead, key: OpeningKey): Promise<Through> {
  const contentKey = contentKeyFor(head.recipientInfos, key)
  if (contentKey === null) return CANNOT_OPEN
  const content = () => decrypted(message, head, contentKey)
  const [section, lines] = [new HeaderSection(MAX_HEADER_OCTETS), new LineEndCheck()]
  let sizeOctets = 0
  let isBody = false
  for await (const part of content()) {
    sizeOctets += part.length
    lines.push(part)
    isBody ||= section.push(part) !== null
  }
  // An entity's header ends before its body (RFC 8551 §3.1), and every line of it is a field: else this throws.
  if (!isBody) return CANNOT_OPEN
  section.fields()
  const { header } = await splitHeader(message)
  const body = behind({ sizeOctets, content }, section.size)
  const whole = await atHand(prefixed([openedHeader(header, section.octets)], body))
  return { kind: "opened", message: whole, hasWholeLines: lines.areWhole }
}

/** The content. **What is given is known to be right only once it ends.** */
async function* decrypted(message: Prepared, head: EnvelopeHead, contentKey: Uint8Array): AsyncGenerator<Uint8Array> {
  const decryptor = contentDecryptor(head, contentKey)
  let pieces: Uint8Array[] = []
  const reading = new EnvelopeMessage((ciphertext) => pieces.push(decryptor.update(ciphertext)))
  for await (const part of message.content()) {
    reading.push(part)
    yield* pieces
    pieces = []
  }
  reading.end()
  yield* pieces
  yield decryptor.final()
}

const SEALED: Through = { kind: "sealed" }
const CANNOT_OPEN: Through = {
  kind: "held",
  because: "it is encrypted to a certificate of this gateway's, and cannot be opened",
}
/** What is wrong with octets of others. */
const UNREADABLE: ReadonlySet<GatewayError["code"]> = new Set([
  "CLEAR_CONTENT",
  "CMS_MALFORMED",
  "DECRYPTION_FAILED",
  "DER_SYNTAX",
  "HEADER_TOO_LARGE",
  "POINT_INVALID",
])
