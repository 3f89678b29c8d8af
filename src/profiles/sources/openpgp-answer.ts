/** PURE. What a web server answers where OpenPGP certificates are published. */
import { dearmor } from "../../crypto/openpgp/armor.ts"
import { PACKET, type Packet, readPackets, writePacket } from "../../crypto/openpgp/packet.ts"
import { MAX_CERTIFICATE_OCTETS } from "../../crypto/openpgp/transferable.ts"
import { GatewayError } from "../../errors.ts"

/** What stood there. */
export interface OpenPgpAnswer {
  /** Binary, each on its own. What begins like a certificate and cannot be read is among them, as it came: who judges it says what is wrong. */
  readonly certificates: readonly Uint8Array[]
  readonly isArmored: boolean
  /** For people: what was odd, or what stood there instead. */
  readonly remarks: readonly string[]
}

/**
 * Takes certificates apart that were sent one behind the other, binary or in one block of armor.
 * @param address only those with a user id that has it; all unless given. Whether it is theirs is for others to judge
 */
export function readOpenPgpAnswer(body: Uint8Array, address: string | null = null): OpenPgpAnswer {
  // RFC 9580 §4.2: a packet begins with an octet from 80 on, armor with text.
  if ((body[0] ?? 0) >= 0x80) return { ...separate(body, address), isArmored: false }
  try {
    const armored = dearmor(body)
    if (armored === null) return { certificates: [], isArmored: false, remarks: [instead(body)] }
    if (armored.label === "PUBLIC KEY BLOCK") return { ...separate(armored.binary, address), isArmored: true }
    return { certificates: [], isArmored: true, remarks: [`a ${armored.label} stands there instead of a certificate`] }
  } catch (error) {
    if (error instanceof GatewayError) return { certificates: [body], isArmored: true, remarks: [] }
    throw error
  }
}

function separate(binary: Uint8Array, address: string | null): Pick<OpenPgpAnswer, "certificates" | "remarks"> {
  const keys = grouped(binary)
  if (keys === null) return { certificates: [binary], remarks: [] }
  const certificates = keys.filter(([first]) => first?.tag === PACKET.publicKey)
  const found = address === null ? certificates : certificates.filter((packets) => hasUserId(packets, address))
  return {
    certificates: found
      .slice(0, MAX_CERTIFICATES)
      .map((packets) => Buffer.concat(packets.map(({ tag, body }) => writePacket(tag, body)))),
    remarks: [
      ...(certificates.length < keys.length
        ? ["a secret key stands there: whoever it belongs to should revoke it"]
        : []),
      ...(keys.length === 0 ? ["OpenPGP packets stand there that are no certificate"] : []),
      ...(found.length > 1 ? [`${found.length} certificates stand there`] : []),
      ...(found.length > MAX_CERTIFICATES ? [`those behind the first ${MAX_CERTIFICATES} were not looked at`] : []),
    ],
  }
}

/** The packets of each primary key, public or secret; null: they cannot be read. */
function grouped(binary: Uint8Array): Packet[][] | null {
  try {
    const keys: Packet[][] = []
    for (const packet of readPackets(binary)) {
      if (packet.tag === PACKET.publicKey || packet.tag === PACKET.secretKey) keys.push([packet])
      else keys.at(-1)?.push(packet)
    }
    return keys
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

function hasUserId(packets: readonly Packet[], address: string): boolean {
  const wanted = address.toLowerCase()
  return packets.some(
    ({ tag, body }) => tag === PACKET.userId && Buffer.from(body).toString().toLowerCase().includes(wanted),
  )
}

function instead(body: Uint8Array): string {
  if (body.length === 0) return "nothing stands there, and that with status 200"
  const beginning = Buffer.from(body.subarray(0, 512)).toString("latin1")
  return HTML.test(beginning)
    ? "a web page stands there instead of a key"
    : "what stands there is neither OpenPGP packets nor armor"
}

/** A body may be this long: the largest certificate that is read, in armor. */
export const MAX_OPENPGP_ANSWER_OCTETS = 1.5 * MAX_CERTIFICATE_OCTETS
/** One that is valid, and those before it that are revoked (WKD); those of several programs. Each costs verifications. */
export const MAX_CERTIFICATES = 8
const HTML = /^(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|\?xml|!--)/i
