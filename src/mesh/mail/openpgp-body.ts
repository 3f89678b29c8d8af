/**
 * PURE. The body of a mail to somebody who reads with OpenPGP alone: one OpenPGP message, in an envelope that is not encrypted once more, since who stores it can
 * open nothing. It has one form only, of which nothing is left to its sender but octets that are random to everybody else (RFC 9580 §10.3):
 *
 *     PKESK of version 3 to the account's Curve25519Legacy key, SEIPD of version 1 to the end, both of definite length
 */
import { ALGORITHM } from "../../crypto/openpgp/key-packet.ts"
import { PACKET, readPacketHeader } from "../../crypto/openpgp/packet.ts"
import { equalConstantTime, sha512 } from "../../crypto/primitives/hash.ts"
import { GatewayError } from "../../errors.ts"
import { tried } from "../tried.ts"
import type { MailStatement } from "./statement.ts"

/** So many octets of a message are enough to check it: a session key packet takes 96, and the header behind it 7. */
export const OPENPGP_HEAD_OCTETS = 256

/** SHA-512 of the session key packet, which is to the message what `recipients` are to an envelope. */
export function openPgpRecipientsDigest(sessionKeyPacket: Uint8Array): Uint8Array {
  return sha512(sessionKeyPacket)
}

/**
 * Checks the beginning of the message, which says how long all of it is.
 * @param head its first {@link OPENPGP_HEAD_OCTETS} octets or more, or all of it
 * @throws GatewayError MESH_MAIL_ALTERED when it is of another form, to another key, or another than is stated
 */
export function checkOpenPgpHead({ openPgp, recipientsDigest, payloadOctets }: MailStatement, head: Uint8Array): void {
  if (openPgp === null) throw altered("is to no OpenPGP key")
  const sessionKey = packetAt(head, 0, PACKET.pkesk)
  const { body } = sessionKey
  const keyId = openPgp.fingerprint.subarray(-KEY_ID_OCTETS)
  const isToKey = Buffer.compare(body.subarray(1, 1 + KEY_ID_OCTETS), keyId) === 0
  if (body[0] !== 3 || !isToKey || body[1 + KEY_ID_OCTETS] !== ALGORITHM.ecdh) throw altered("is to another key")
  const content = packetAt(head, sessionKey.end, PACKET.seipd)
  if (content.body[0] !== 1 || content.end !== payloadOctets) throw altered("is of another form")
  if (!equalConstantTime(openPgpRecipientsDigest(head.subarray(0, sessionKey.end)), recipientsDigest))
    throw altered("has another session key packet")
}

interface PlacedPacket {
  /** As much of it as there is. */
  readonly body: Uint8Array
  readonly end: number
}

function packetAt(octets: Uint8Array, at: number, tag: number): PlacedPacket {
  const header = tried(() => readPacketHeader(octets, at))
  if (header === null || header instanceof GatewayError || header.tag !== tag || header.length.kind !== "definite")
    throw altered("is of another form")
  const start = at + header.headerOctets
  const end = start + header.length.octets
  return { body: octets.subarray(start, end), end }
}

function altered(what: string): GatewayError {
  return new GatewayError("MESH_MAIL_ALTERED", `mail: its OpenPGP message ${what}`)
}

const KEY_ID_OCTETS = 8
