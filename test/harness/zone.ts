/** Records by "name TYPE"; a word instead of records is what the server does: no answer, an error, or a name without such records. */
export type Zone = Readonly<Record<string, readonly (string | readonly string[])[] | "silence" | "SERVFAIL">>

/** Answers as node:dns does, from a zone: ENOTFOUND, ENODATA, ESERVFAIL, or never. `asked` gets each question. */
export function zoneLookup(zone: Zone, asked: string[] = []) {
  const names = new Set(Object.keys(zone).map((key) => key.split(" ")[0]))
  return async (name: string, type: string): Promise<string[][] | string[]> => {
    // It ends a name at its first NUL, too.
    const [asking = ""] = name.split("\0")
    const key = `${asking.toLowerCase().replace(/\.$/, "")} ${type}`
    asked.push(key)
    if (asking.length > 253) throw Object.assign(new Error(`query${type} EBADNAME ${name}`), { code: "EBADNAME" })
    const found = zone[key]
    if (found === "silence") return new Promise(() => undefined)
    if (found === "SERVFAIL") throw Object.assign(new Error(`query${type} ESERVFAIL ${name}`), { code: "ESERVFAIL" })
    if (found) return type === "TXT" ? found.map((record) => [record].flat()) : (found as string[])
    const code = names.has(key.split(" ")[0] ?? "") ? "ENODATA" : "ENOTFOUND"
    throw Object.assign(new Error(`query${type} ${code} ${name}`), { code })
  }
}
