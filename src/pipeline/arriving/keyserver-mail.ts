import type { Log } from "../../log/log.ts"
import { type Address, addressKey } from "../../message/address.ts"
import type { Entity } from "../../mime/structure.ts"
import type { Confirmation } from "../../profiles/sources/vks-confirm.ts"
import {
  MAX_VERIFICATION_MAIL_OCTETS,
  readVerificationMail,
  speaksFor,
  type VerificationAsked,
  type VerificationMail,
} from "../../profiles/verification-mail.ts"
import type { SpoolEntry } from "../../store/spool.ts"
import type { KeyserverMail } from "../ports.ts"
import type { Prepared } from "../prepared.ts"
import { authenticAuthor, bodyOf, readArrived } from "./arrived.ts"

/** What keyservers were asked, as far as their mail is waited for. */
export interface Requests<Request extends VerificationAsked> {
  pending(address: string, at: Date): readonly Request[]
  /** False: somebody else answers it, or nobody waits any more. */
  claim(request: Request, at: Date): boolean
  /** `because` null: it is done. */
  settle(request: Request, because: string | null, at: Date): void
}

export interface KeyserverMeans<Request extends VerificationAsked> {
  readonly requests: Requests<Request>
  /** Tells the keyserver that the certificate may be found by the address. */
  confirm(request: Request, address: Address, token: string): Promise<Confirmation>
  readonly now: () => Date
  readonly log: Log
}

/**
 * Answers keyservers that ask whether a key may be found by an address: where we had them ask, for exactly this address and key, and DMARC passed for the keyserver. Once;
 * what comes of it is logged and kept. The mail goes where all mail goes.
 */
export function answeringKeyservers<Request extends VerificationAsked>(means: KeyserverMeans<Request>): KeyserverMail {
  return {
    async stored(spoolId, recipient, message, entry) {
      try {
        for (const request of awaited(recipient, entry, means))
          await answer(spoolId, recipient, message, entry, request, means)
      } catch (error) {
        // The mail itself has arrived.
        means.log.error("keyserver.not-answered", { id: spoolId }, error)
      }
    },
  }
}

/** What may be answered by mail of the domain that DMARC passed for. */
function awaited<Request extends VerificationAsked>(
  recipient: Address,
  { authentication }: SpoolEntry,
  { requests, now }: KeyserverMeans<Request>,
): readonly Request[] {
  const domain = authentication?.author
  if (domain === undefined) return []
  return requests.pending(addressKey(recipient), now()).filter(({ host }) => speaksFor(domain, host))
}

async function answer<Request extends VerificationAsked>(
  spoolId: string,
  recipient: Address,
  message: Prepared,
  entry: SpoolEntry,
  request: Request,
  { requests, confirm, now, log }: KeyserverMeans<Request>,
): Promise<void> {
  const about = { id: spoolId, address: addressKey(recipient), keyserver: request.host }
  const asks = await asked(message, entry, request)
  if (asks.kind === "other") return log.info("keyserver.mail-left", { ...about, because: asks.because })
  if (!requests.claim(request, now())) return
  const because = await confirm(request, recipient, asks.token).then(
    (confirmation) => (confirmation.kind === "published" ? null : confirmation.because),
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  )
  requests.settle(request, because, now())
  if (because === null) log.info("keyserver.published", about)
  else log.warn("keyserver.not-published", { ...about, because })
}

async function asked(message: Prepared, entry: SpoolEntry, request: VerificationAsked): Promise<VerificationMail> {
  if (message.sizeOctets > MAX_VERIFICATION_MAIL_OCTETS)
    return { kind: "other", because: "it is too long for such mail" }
  const arrived = await readArrived(message)
  if (authenticAuthor(arrived, entry) === null)
    return { kind: "other", because: "its one author is not who DMARC passed for" }
  const bodies = textsIn(arrived.root).map((entity) => bodyOf(message, entity, MAX_VERIFICATION_MAIL_OCTETS))
  const texts = (await Promise.all(bodies)).map((octets) => new TextDecoder().decode(octets ?? undefined))
  return readVerificationMail(texts, request)
}

/** What a reader is shown; not what another message holds. */
function textsIn(entity: Entity): Entity[] {
  const { header, content } = entity
  if (content.kind === "multipart") return content.parts.flatMap(textsIn)
  return content.kind === "leaf" && header.type === "text" ? [entity] : []
}
