/** PURE */

/**
 * The domain that hosts below it are counted with, as far as names tell: its last two labels, three below `co.uk` and its like. Whoever has a domain has as many hosts in it as he wants.
 * That two organisations are taken for one, where a registry is not in the list, is for the caller to bear: nobody is let in or shown as another by it.
 */
export function siteOf(domain: string): string {
  const labels = domain.split(".")
  // An address literal has nothing below it.
  if (domain.startsWith("[") || labels.length < 3) return domain
  const [second = "", top = ""] = labels.slice(-2)
  return labels.slice(top.length === 2 && REGISTRIES.has(second) ? -3 : -2).join(".")
}

/** What registries of countries sell names below. */
const REGISTRIES: ReadonlySet<string> = new Set(
  "ac co com ed edu go gob gouv gov govt gv id ltd me mil ne net nic nom or org plc sch school web".split(" "),
)
