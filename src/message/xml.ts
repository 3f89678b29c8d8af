/** Writing XML 1.0. Whoever reads XML does it beside the protocol that has it, and takes no document type. */

declare const written: unique symbol

/** Markup that is complete: elements, with every special character of their text escaped. */
export type Xml = string & { readonly [written]: true }

/** One element around text, or around elements on lines of their own. */
export function element(
  name: string,
  content: string | readonly Xml[],
  attributes: Readonly<Record<string, string>> = {},
): Xml {
  const start = [name, ...Object.entries(attributes).map(([key, value]) => `${key}="${escaped(value)}"`)].join(" ")
  if (content.length === 0) return `<${start}/>` as Xml
  const inner = typeof content === "string" ? escaped(content) : `\n${content.map(indented).join("\n")}\n`
  return `<${start}>${inner}</${name}>` as Xml
}

/** A whole document in UTF-8; `doctype` stands before the root element. */
export function xmlDocument(root: Xml, doctype = ""): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${doctype}${root}\n`
}

/** Line ends inside text are written as references, so that whatever begins a line here is markup. */
function indented(xml: Xml): string {
  return xml.replace(/^/gm, "  ")
}

// XML 1.0 §2.4; §3.3.3 and §2.11 would change white space that is not written as a reference.
function escaped(characters: string): string {
  return characters
    .toWellFormed()
    .replace(FORBIDDEN, "\ufffd")
    .replace(/[&<>"'\t\n\r]/g, (special) => `&#${special.charCodeAt(0)};`)
}

/** XML 1.0 §2.2: Char ::= #x9 | #xA | #xD | [#x20-#xD7FF] | [#xE000-#xFFFD] | [#x10000-#x10FFFF] */
const FORBIDDEN = /[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g
