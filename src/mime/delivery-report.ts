/** PURE. What a delivery status notification of somebody else says (RFC 3464; RFC 6533 where it is internationalized). */

import { hasCode } from "../errors.ts"
import { transferDecoder } from "./classify-decode.ts"
import { withoutComments } from "./comments.ts"
import { firstField, parseFields } from "./header.ts"
import { type Entity, StructureParser } from "./structure.ts"
import { parameter } from "./structure-header.ts"

/** Explanations before the fields, in HTML too, stay below 100 KB; what stands beyond this is not looked at. */
export const MAX_REPORT_OCTETS = 262_144

/** What we send is for one recipient each, who may be a list; each costs 10 microseconds. */
export const MAX_GROUPS = 1_000

/** Of one recipient: what was done, and the status code; null: none that RFC 3463 §2 knows. */
export interface ReportedFate {
  readonly action: "failed" | "delayed" | "delivered" | "relayed" | "expanded"
  readonly status: string | null
}

/**
 * Reads the fields for recipients in a multipart/report (RFC 6522) of the type delivery-status.
 * @param octets the message, or {@link MAX_REPORT_OCTETS} of it
 * @returns null when it is no such report, or its fields do not end within `octets`
 */
export function readDeliveryReport(octets: Uint8Array): readonly ReportedFate[] | null {
  const parser = new StructureParser()
  parser.push(octets)
  const fields = statusPart(parser.end(), octets.length)
  const text = fields && decoded(octets.subarray(fields.bodyStart, fields.bodyEnd), fields.header.encoding)
  if (text === null) return null
  const fates = groupsOf(text).flatMap(fateIn)
  return fates.length > 0 ? fates : null
}

/** RFC 6522 §3: the second part. A boundary stands behind it, or it was cut off. */
function statusPart({ header, content }: Entity, end: number): Entity | null {
  if (header.type !== "multipart" || header.subtype !== "report" || content.kind !== "multipart") return null
  if (parameter(header, "report-type").toLowerCase() !== "delivery-status") return null
  const second = content.parts[1]
  if (second === undefined || second.bodyEnd === end || second.header.type !== "message") return null
  return ["delivery-status", "global-delivery-status"].includes(second.header.subtype) ? second : null
}

function decoded(octets: Uint8Array, encoding: string): Uint8Array | null {
  try {
    const decoder = transferDecoder(encoding)
    return Buffer.concat([decoder.push(octets), decoder.end()])
  } catch (error) {
    if (hasCode(error, "CLEAR_CONTENT")) return null
    throw error
  }
}

// RFC 3464 §2.1: per-message-fields 1*( CRLF per-recipient-fields )
function groupsOf(text: Uint8Array): Uint8Array[] {
  return Buffer.from(text)
    .toString("latin1")
    .trim()
    .split(/(?:\r?\n){2,}/, MAX_GROUPS)
    .map((group) => Buffer.from(group, "latin1"))
}

/** [] for the fields about the message, which have no action, and for an action that there is not. */
function fateIn(group: Uint8Array): ReportedFate[] {
  const fields = parseFields(group)
  const word = (name: string) => withoutComments(firstField(fields, name) ?? "")?.trim() ?? ""
  const action = ACTIONS.find((one) => one === word("action").toLowerCase())
  const status = word("status")
  return action === undefined ? [] : [{ action, status: STATUS.test(status) ? status : null }]
}

const ACTIONS = ["failed", "delayed", "delivered", "relayed", "expanded"] as const
// RFC 3463 §2: status-code = class "." subject "." detail, class = "2"/"4"/"5", subject and detail = 1*3digit
const STATUS = /^[245]\.(?:0|[1-9]\d{0,2})\.(?:0|[1-9]\d{0,2})$/
