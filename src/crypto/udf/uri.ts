import { GatewayError } from "../../errors.ts"
import { parseUdf, type Udf } from "./udf.ts"

/**
 * A UDF as a URI (draft-hallambaker-mesh-udf §5):
 *
 *     name      udf:MDDK-7N6A-…                    what it is, wherever it is
 *     locator   udf://example.com/EAGB-5GUQ-…      and who has it; with a key (type E) an EARL: whoever has it can read
 *     connect   mcd://maker@example.com/EBH3-…     a device to be connected;  mcu://… a contact to be exchanged
 */
export type UdfUri =
  | { readonly kind: "name"; readonly udf: Udf }
  | { readonly kind: "locator"; readonly domain: string; readonly udf: Udf }
  | { readonly kind: "connect"; readonly purpose: ConnectPurpose; readonly account: string; readonly udf: Udf }

/** Generation 2022 wrote `mcu` for both: a reader goes by the kind of the UDF there. */
export type ConnectPurpose = "device" | "contact"

/**
 * Reads a URI in one of the forms of {@link UdfUri}. Domains come out in lower case, accounts as they are.
 * @throws GatewayError UDF_MALFORMED
 */
export function parseUdfUri(uri: string): UdfUri {
  if (uri.length > MAX_URI_CHARACTERS) throw malformed("too long")
  const [, scheme = "", authority, path = ""] = /^([A-Za-z]+):(?:\/\/([^/?#]*)\/)?([^/?#]*)$/.exec(uri) ?? []
  const udf = parseUdf(path)
  if (scheme.toLowerCase() === "udf")
    return authority === undefined ? { kind: "name", udf } : { kind: "locator", domain: domainOf(authority), udf }
  const purpose = PURPOSES.get(scheme.toLowerCase())
  if (purpose === undefined || authority === undefined || !ACCOUNT.test(authority)) throw malformed("no form of a UDF")
  return { kind: "connect", purpose, account: authority, udf }
}

/** The URI as {@link parseUdfUri} reads it. */
export function printUdfUri(uri: UdfUri): string {
  switch (uri.kind) {
    case "name":
      return `udf:${uri.udf.text}`
    case "locator":
      return `udf://${uri.domain}/${uri.udf.text}`
    case "connect":
      return `${uri.purpose === "device" ? "mcd" : "mcu"}://${uri.account}/${uri.udf.text}`
  }
  return uri satisfies never
}

function domainOf(authority: string): string {
  if (!DOMAIN.test(authority)) throw malformed("no domain name")
  return authority.toLowerCase()
}

function malformed(what: string): GatewayError {
  return new GatewayError("UDF_MALFORMED", `udf uri: ${what}`)
}

const PURPOSES: ReadonlyMap<string, ConnectPurpose> = new Map([
  ["mcd", "device"],
  ["mcu", "contact"],
])
/** RFC 1123 §2.1, with a port or without. */
const DOMAIN = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?(?::[0-9]{1,5})?$/
/** What the Mesh calls an account address is looked at by others; here it is only kept from ending early. */
const ACCOUNT = /^[^\s@:]{1,64}@[A-Za-z0-9][A-Za-z0-9.-]{0,254}$/
const MAX_URI_CHARACTERS = 4_096
