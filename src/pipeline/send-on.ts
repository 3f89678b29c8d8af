import { addressKey, isNonAscii } from "../message/address.ts"
import type { Recipient } from "../message/envelope.ts"
import { withoutBcc } from "../mime/header-protection.ts"
import type { SpoolEntry } from "../store/spool.ts"
import { asLeaving } from "./as-leaving.ts"
import { targetOfKey } from "./at-rest.ts"
import { deliveredTo } from "./forward.ts"
import { forwardDoubt } from "./forward-doubt.ts"
import type { Attempt, Gateway } from "./gateway.ts"
import { keptBack } from "./kept-back.ts"
import { type Leaving, leaving } from "./leaving.ts"
import type { Result } from "./ports.ts"
import { type Prepared, prefixed } from "./prepared.ts"
import { type ClassifiedMessage, classified, withHeader } from "./protect.ts"
import { headersFor, protectOutgoing } from "./protect-outgoing.ts"
import { withResults } from "./results.ts"

/**
 * Sends on what came for an alias to somebody elsewhere: encrypted to a key of his, or, where the alias allows that, as policy has it for all that leaves. The
 * octets of what leaves in clear are those that came, so that its author's signatures (DKIM) hold.
 */
export async function sendOn(attempt: Attempt): Promise<Result> {
  const { message, job, recipient, gateway, signal } = attempt
  const { entry } = message
  const came = { sizeOctets: entry.sizeOctets, content: () => message.content() }
  const whole = await classified(await withResults(came, entry.authentication?.field ?? null, gateway.hostname))
  // Of our people's mail nobody else sees it, as in all that leaves; others have sent it so, and perhaps signed it.
  const accepted = entry.origin.isOurs ? withHeader(whole, withoutBcc(whole.header)) : whole
  const doubt = forwardDoubt(accepted.header, entry, gateway.domains)
  if (doubt !== null && !job.anyway) return { kind: "hold", reason: doubt }
  if (doubt !== null) gateway.log.warn("mail.doubt-overruled", { id: job.spoolId, recipient: job.recipient, doubt })
  const { alias } = entry.origin
  const above = [...(alias ? [deliveredTo(alias)] : []), Buffer.from(entry.received)]
  const send = async (outgoing: Prepared, verified = false) => {
    const leaves = await asLeaving(outgoing, message, job, gateway)
    if ("kind" in leaves) return leaves
    const [envelope, to] = addressed(entry, recipient, gateway)
    return gateway.relay.send(leaves, envelope, to, { verified, signal })
  }
  // What its sender has encrypted stays as it is, whomever it is for.
  if (accepted.kind !== "clear") return send(prefixed(above, accepted.whole))
  const left = await leaving(message, accepted.header, recipient, gateway, {
    encryptedOnly: !maySendClear(entry, recipient, gateway),
  })
  const { kind, because } = left.decision
  gateway.log.info("mail.decided", { id: job.spoolId, recipient: job.recipient, decision: kind, because })
  switch (left.decision.kind) {
    case "encrypt":
    case "send":
    case "tls":
      return send(await asDecided(accepted, above, left, attempt), left.decision.kind === "tls")
    default: {
      const result = await keptBack(left.decision, job, recipient.address, gateway)
      // Who wrote to an alias hears when it has failed; that somebody here has to find a key is nothing to him, and he may be made up.
      return result.kind === "hold" ? { kind: "hold", reason: result.reason } : result
    }
  }
}

/** As the alias says now: what was allowed when it came may have been taken back, and an alias that is gone allows nothing. */
function maySendClear({ origin }: SpoolEntry, { address }: Recipient, { directory }: Gateway): boolean {
  if (origin.alias === undefined) return false
  const standing = directory.resolve(origin.alias)
  if (standing.kind !== "accounts") return false
  return standing.forwards.some(({ target, clear }) => clear && addressKey(target) === addressKey(address))
}

async function asDecided(
  accepted: ClassifiedMessage,
  above: readonly Uint8Array[],
  { decision, policy }: Leaving,
  { message, job, gateway }: Attempt,
): Promise<Prepared> {
  if (decision.kind !== "encrypt") return prefixed(above, accepted.whole)
  const { key } = decision
  const options = { headers: headersFor(key.format, policy), form: policy.pgp, signing: null } as const
  return protectOutgoing(accepted, above, message.entry.seed, job.recipient, targetOfKey(key, gateway.now()), options)
}

/** The envelope as it leaves: a failure comes back to us. What the sender asked to be told of is not for others: he would be told the target's address. */
function addressed(
  { envelope, origin }: SpoolEntry,
  recipient: Recipient,
  { returnPaths, now }: Gateway,
): readonly [SpoolEntry["envelope"], Recipient] {
  const { alias } = origin
  const sender = envelope.sender && alias ? returnPaths.forwarded(envelope.sender, alias, now()) : envelope.sender
  const smtpUtf8 = envelope.smtpUtf8 || (sender !== null && isNonAscii(sender))
  return [
    { ...envelope, sender, smtpUtf8, envelopeId: null, returnContent: null },
    { ...recipient, originalRecipient: null },
  ]
}
