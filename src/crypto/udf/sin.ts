import { GatewayError } from "../../errors.ts"
import { parseUdf, type Udf } from "./udf.ts"

/**
 * A Strong Internet Name (draft-hallambaker-mesh-udf §6): a domain name one of whose labels is the UDF of the security policy that holds for it.
 *
 *     mm--mbqc-7oha-rnba-frdl.example.com     the label first: others resolve it as any name
 *     example.com.mm--mbqc-7oha-rnba-frdl     the label last: only who knows SINs can
 */
export interface StrongName {
  readonly domain: string
  readonly policy: Udf
  readonly place: "first" | "last"
}

/**
 * Reads a domain name, of an address too when it stands there alone.
 * @returns null for a name without such a label
 * @throws GatewayError UDF_MALFORMED when a label begins like one and is none, when there are two, or one in the middle: such a name must not pass for a plain one
 */
export function parseStrongName(name: string): StrongName | null {
  const labels = name.toLowerCase().split(".", MAX_LABELS + 1)
  const strong = labels.filter((label) => label.startsWith(PREFIX))
  if (strong.length === 0) return null
  const place = labels[0] === strong[0] ? "first" : "last"
  const [label = ""] = strong
  const domain = (place === "first" ? labels.slice(1) : labels.slice(0, -1)).join(".")
  if (strong.length > 1 || labels.length > MAX_LABELS || domain === "" || label.length > MAX_LABEL_OCTETS)
    throw malformed("is no name with one policy")
  if (place === "last" && labels.at(-1) !== label) throw malformed("policy stands in the middle")
  return { domain, policy: parsePolicy(label), place }
}

/**
 * Binds a domain name to a policy. The UDF must fit a label of 63 octets: 240 bits.
 * @throws GatewayError UDF_MALFORMED
 */
export function printStrongName({ domain, policy, place }: StrongName): string {
  const label = `${PREFIX}${policy.text.toLowerCase()}`
  if (label.length > MAX_LABEL_OCTETS || policy.kind !== "digest") throw malformed("policy does not fit a label")
  return place === "first" ? `${label}.${domain}` : `${domain}.${label}`
}

function parsePolicy(label: string): Udf {
  const policy = parseUdf(label.slice(PREFIX.length))
  if (policy.kind !== "digest") throw malformed("policy is no digest")
  return policy
}

function malformed(what: string): GatewayError {
  return new GatewayError("UDF_MALFORMED", `sin: ${what}`)
}

const PREFIX = "mm--"
/** RFC 1035 §2.3.4. */
const MAX_LABEL_OCTETS = 63
const MAX_LABELS = 127
