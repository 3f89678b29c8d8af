/** PURE. Apple's property lists in XML, as far as a configuration profile needs them. */
import { element, type Xml, xmlDocument } from "../message/xml.ts"

/** What a property list can hold; octets become `data`. Numbers are whole. */
export type PlistValue =
  | string
  | number
  | boolean
  | Uint8Array
  | readonly PlistValue[]
  | { readonly [key: string]: PlistValue }

/** The property list whose root is `value`. */
export function plist(value: PlistValue): string {
  return xmlDocument(element("plist", [node(value)], { version: "1.0" }), DOCTYPE)
}

function node(value: PlistValue): Xml {
  if (typeof value === "string") return element("string", value)
  if (typeof value === "number") return element("integer", String(value))
  if (typeof value === "boolean") return element(String(value), "")
  if (value instanceof Uint8Array) return element("data", Buffer.from(value).toString("base64"))
  if (isList(value)) return element("array", value.map(node))
  return element(
    "dict",
    Object.entries(value).flatMap(([key, inner]) => [element("key", key), node(inner)]),
  )
}

/** Array.isArray does not narrow a readonly array away. */
function isList(value: PlistValue): value is readonly PlistValue[] {
  return Array.isArray(value)
}

const DOCTYPE =
  '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n'
