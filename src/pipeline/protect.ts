import {
  deriveEnvelopeSecrets,
  type EnvelopeCipher,
  encryptEnveloped,
  envelopedSize,
  isAuthenticated,
} from "../crypto/cms/enveloped.ts"
import type { CmsRecipient } from "../crypto/cms/recipient.ts"
import {
  deriveOpenPgpSecrets,
  encryptOpenPgp,
  type OpenPgpRecipient,
  openPgpArmoredSize,
} from "../crypto/openpgp/encrypt.ts"
import type { SeipdVersion } from "../crypto/openpgp/protected-body.ts"
import { hkdfSha256 } from "../crypto/primitives/hash.ts"
import { RecryptionStream } from "../crypto/recryption/stream.ts"
import { EncryptionClassifier, type Kind } from "../mime/classify.ts"
import { outerFields, pgpMimeFrame, type SubjectPolicy, smimeFields, withoutMarker } from "../mime/compose.ts"
import { MAX_HEADER_OCTETS, readHeader } from "../mime/header.ts"
import { type EncryptedBody, inBase64, marked } from "./marked.ts"
import type { MarkerMaker } from "./marker-mac.ts"
import { atHand, behind, type Prepared, prefixed } from "./prepared.ts"
import { genuineMarker, isEmpty, type Restorers, Restoring } from "./restore.ts"

/** Whose key a message is encrypted to, and how. */
export type EncryptionTarget =
  | {
      readonly format: "smime"
      readonly recipients: readonly CmsRecipient[]
      /** GCM is for certificates whose capabilities name it (RFC 8551 §2.5.2). */
      readonly cipher: EnvelopeCipher
    }
  | {
      readonly format: "openpgp"
      readonly recipients: readonly OpenPgpRecipient[]
      /** 1 unless stated; 2 is for certificates whose features name it (RFC 9580 §5.2.3.32). */
      readonly seipd?: SeipdVersion
    }

/** What {@link protectAtRest} needs to know of the account a message is stored for. */
export interface AtRest extends MarkerMaker {
  readonly target: EncryptionTarget
  readonly subject: SubjectPolicy
  /** device -> account: blocks in a device's form are patched back. */
  readonly restorers: Restorers
}

/** A message as it is stored, and what protects it. */
export interface ProtectedMessage extends Prepared {
  /** For the log: `smime` or `openpgp`, and by whom. */
  readonly by: string
}

/**
 * The message as it is stored for an account: what came encrypted (to anybody, found by content) stays as it came, everything else is
 * encrypted whole, octet for octet. `seed` makes it reproducible: the same seed, account and message give the same octets.
 * @throws GatewayError HEADER_TOO_LARGE
 */
export async function protectAtRest(
  message: Prepared,
  trace: readonly Uint8Array[],
  seed: Uint8Array,
  rest: AtRest,
): Promise<ProtectedMessage> {
  const { whole, header, body, kind } = await classified(message)
  if (kind === "clear") {
    const encrypted = encryptedMessage(whole, seed, rest.account, rest.target)
    const outside = [...trace, ...outerFields(header, rest.subject)]
    const stored = await marked("this gateway", outside, encrypted, rest)
    return { ...stored, by: `${rest.target.format} by this gateway` }
  }
  const restored = restoredBody(body, genuineMarker(header, rest)?.tag ?? null, rest)
  const stored = await marked("unknown", trace, { fields: withoutMarker(header), body: restored }, rest)
  return { ...stored, by: `arrived as ${kind}` }
}

/** MIME fields and body of `message`, whole, encrypted to `target`. */
export function encryptedMessage(
  message: Prepared,
  seed: Uint8Array,
  context: string,
  target: EncryptionTarget,
): EncryptedBody {
  return target.format === "smime"
    ? smimeMessage(message, seed, context, target)
    : pgpMimeMessage(message, seed, context, target)
}

/** A message of which it is known whether everything in it is encrypted already. */
export interface ClassifiedMessage {
  readonly kind: Kind
  readonly whole: Prepared
  /** Its header section with the empty line. */
  readonly header: Uint8Array
  readonly body: Prepared
}

/**
 * Looks at a message once, before anything is done with it.
 * @throws GatewayError HEADER_TOO_LARGE
 */
export async function classified(message: Prepared): Promise<ClassifiedMessage> {
  const whole = await atHand(message)
  return { whole, ...(await splitHeader(whole)), kind: await classify(whole) }
}

/** The message with another header section, of the same MIME fields. */
export function withHeader(message: ClassifiedMessage, header: Uint8Array): ClassifiedMessage {
  return header === message.header ? message : { ...message, header, whole: prefixed([header], message.body) }
}

/** Whether everything in `message` is encrypted already. It is read no further than needed to tell. */
export async function classify(message: Prepared): Promise<Kind> {
  const classifier = new EncryptionClassifier()
  for await (const part of message.content()) {
    classifier.push(part)
    if (classifier.isClear) break
  }
  return classifier.end()
}

function smimeMessage(
  message: Prepared,
  seed: Uint8Array,
  context: string,
  target: EncryptionTarget & { format: "smime" },
): EncryptedBody {
  const { recipients, cipher } = target
  const contentOctets = message.sizeOctets
  const parameters = { contentOctets, recipients, secrets: deriveEnvelopeSecrets(seed, context), cipher }
  const derOctets = envelopedSize(contentOctets, recipients, cipher)
  const binary: Prepared = { sizeOctets: derOctets, content: () => encryptEnveloped(message.content(), parameters) }
  return { fields: [smimeFields(isAuthenticated(cipher))], ...inBase64(binary) }
}

function pgpMimeMessage(
  message: Prepared,
  seed: Uint8Array,
  context: string,
  target: EncryptionTarget & { format: "openpgp" },
): EncryptedBody {
  const boundary = `postern-${Buffer.from(hkdfSha256(seed, new Uint8Array(0), `boundary ${context}`, 18)).toString("hex")}`
  const frame = pgpMimeFrame(boundary)
  const armor = armoredMessage(message, seed, context, target)
  const body: Prepared = {
    sizeOctets: frame.before.length + armor.sizeOctets + frame.after.length,
    async *content() {
      yield frame.before
      yield* armor.content()
      yield frame.after
    },
  }
  return { fields: [frame.fields], body }
}

/** `message` as an armored OpenPGP message. */
export function armoredMessage(
  message: Prepared,
  seed: Uint8Array,
  context: string,
  { recipients, seipd = 1 }: EncryptionTarget & { format: "openpgp" },
): Prepared {
  const contentOctets = message.sizeOctets
  const parameters = { contentOctets, recipients, seipd, secrets: deriveOpenPgpSecrets(seed, context) }
  return {
    sizeOctets: openPgpArmoredSize(contentOctets, recipients, seipd),
    content: () => encryptOpenPgp(message.content(), parameters),
  }
}

function restoredBody(body: Prepared, tag: Uint8Array | null, rest: AtRest): Prepared {
  if (isEmpty(rest.restorers)) return body
  return {
    sizeOctets: body.sizeOctets,
    async *content() {
      const stream = new RecryptionStream(new Restoring(rest, tag).patching)
      for await (const part of body.content()) yield* stream.push(part)
      yield* stream.end()
    },
  }
}

/** Header section with its empty line, and the body behind it. */
export async function splitHeader(
  message: Prepared,
  limitOctets = MAX_HEADER_OCTETS,
): Promise<{ readonly header: Uint8Array; readonly body: Prepared }> {
  const octets = message.content()[Symbol.asyncIterator]()
  try {
    const { header } = await readHeader(octets, limitOctets)
    return { header, body: behind(message, header.length) }
  } finally {
    await octets.return?.()
  }
}
