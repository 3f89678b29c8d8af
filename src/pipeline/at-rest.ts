import { openPgpRecipient, openPgpRecipients } from "../crypto/openpgp/recipient.ts"
import { GatewayError } from "../errors.ts"
import type { UsableKey } from "../profiles/key.ts"
import type { Account, Format } from "../store/account.ts"
import type { AtRest, EncryptionTarget } from "./protect.ts"
import { smimeRecipient } from "./smime-recipient.ts"

/** How the mail of an account is stored: encrypted to the current key of its first format. */
export function atRestOf(account: Account, rest: Omit<AtRest, "account" | "target">): AtRest {
  return { ...rest, account: account.address, target: targetOf(account) }
}

/** @throws GatewayError STATE_CORRUPT */
function targetOf(account: Account): EncryptionTarget {
  const format = account.formats[0] ?? "smime"
  const key = account.keys.find((candidate) => candidate.current && candidate.format === format)
  if (!key) throw new GatewayError("STATE_CORRUPT", `account ${account.address}: has no current ${format} key`)
  return encryptionTarget(format, key.certificate)
}

/**
 * Encryption to one certificate: DER of X.509, or binary OpenPGP. CBC, because Thunderbird opens no AuthEnvelopedData, and no key may be
 * used with both (RFC 9709).
 */
export function encryptionTarget(format: Format, certificate: Uint8Array): EncryptionTarget {
  return format === "smime"
    ? { format, recipients: [smimeRecipient(certificate)], cipher: "aes-256-cbc" }
    : { format, recipients: [openPgpRecipient(certificate)] }
}

/**
 * Encryption to somebody else's key, in the newest form that its holder says he reads.
 * @throws GatewayError MESH_KEY_UNSUPPORTED for an account of the Mesh: its mail is sealed, and not sent
 */
export function targetOfKey({ format, octets, reads }: UsableKey, at: Date): EncryptionTarget {
  if (format === "mesh") throw new GatewayError("MESH_KEY_UNSUPPORTED", "mesh: an account is no key of SMTP")
  return format === "smime"
    ? {
        format,
        recipients: [smimeRecipient(octets)],
        cipher: reads.aesGcm ? "aes-256-gcm" : "aes-256-cbc",
      }
    : { format, recipients: openPgpRecipients(octets, at), seipd: reads.seipdV2 ? 2 : 1 }
}
