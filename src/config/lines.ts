/** PURE. Where each key of a TOML document stands: smol-toml tells lines of syntax errors only. */

const TABLE = /^\s*\[\s*([^[\]]+?)\s*\]\s*(?:#.*)?$/
const TABLE_OF_ARRAY = /^\s*\[\[\s*([^[\]]+?)\s*\]\]\s*(?:#.*)?$/
const KEY = /^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=(.*)$/

/**
 * Lines (from 1) of the dotted keys and tables of a well-formed TOML document; the tables of an array are `name[0]` and so on. Inside multi-line strings nothing is looked for.
 */
export function keyLines(text: string): ReadonlyMap<string, number> {
  const lines = new Map<string, number>()
  const counts = new Map<string, number>()
  let table = ""
  let fence: string | null = null
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (fence !== null) {
      if (line.includes(fence)) fence = null
      continue
    }
    const header = TABLE.exec(line)
    const element = TABLE_OF_ARRAY.exec(line)
    const key = KEY.exec(line)
    if (header?.[1]) {
      table = dotted(header[1])
      lines.set(table, index + 1)
    } else if (element?.[1]) {
      const array = dotted(element[1])
      const count = counts.get(array) ?? 0
      counts.set(array, count + 1)
      table = `${array}[${count}]`
      lines.set(table, index + 1)
      if (count === 0) lines.set(array, index + 1)
    } else if (key?.[1]) {
      lines.set(table === "" ? dotted(key[1]) : `${table}.${dotted(key[1])}`, index + 1)
      fence = opensFence(key[2] ?? "")
    }
  }
  return lines
}

function opensFence(value: string): string | null {
  const mark = /^\s*("""|''')/.exec(value)?.[1]
  return mark !== undefined && value.split(mark).length === 2 ? mark : null
}

function dotted(key: string): string {
  return key
    .split(".")
    .map((part) => part.trim().replace(/^["'](.*)["']$/, "$1"))
    .join(".")
}
