import { readFile, rename, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { isCode } from "./fs-errors.ts"

/** Maildir has the letters a to z for keywords. */
export const MAX_KEYWORDS = 26

const SYSTEM_FLAGS: readonly (readonly [letter: string, flag: string])[] = [
  ["R", "\\Answered"],
  ["F", "\\Flagged"],
  ["T", "\\Deleted"],
  ["S", "\\Seen"],
  ["D", "\\Draft"],
]

/** Which letter of a folder's file names stands for which keyword: the file dovecot-keywords, lines `<number> <keyword>`. */
export class Keywords {
  readonly #path: string
  #names: (string | undefined)[] = []
  readonly #texts = new Map<string, string>()

  constructor(folder: string) {
    this.#path = join(folder, "dovecot-keywords")
  }

  async read(): Promise<void> {
    const text = await readFile(this.#path, "latin1").catch((error: unknown) => {
      if (isCode(error, "ENOENT")) return ""
      throw error
    })
    const names: (string | undefined)[] = []
    for (const line of text.split("\n")) {
      const [, number, name] = /^(\d{1,2}) (\S+)$/.exec(line) ?? []
      if (name !== undefined && Number(number) < MAX_KEYWORDS) names[Number(number)] = name
    }
    if (names.join("\n") !== this.#names.join("\n")) this.#texts.clear()
    this.#names = names
  }

  /** Keywords in use, in the order of their letters. */
  get names(): readonly string[] {
    return this.#names.filter((name) => name !== undefined)
  }

  /** Makes letters for keywords that have none, as far as there are any. The caller holds the dotlock. */
  async add(keywords: readonly string[]): Promise<void> {
    await this.read()
    const missing = keywords.filter((keyword) => this.letterOf(keyword) === null)
    if (missing.length === 0) return
    for (const keyword of missing) {
      const free = Array.from({ length: MAX_KEYWORDS }, (_, index) => index).find(
        (index) => this.#names[index] === undefined,
      )
      if (free !== undefined && this.letterOf(keyword) === null) this.#names[free] = keyword
    }
    this.#texts.clear()
    const lines = this.#names.flatMap((name, index) => (name === undefined ? [] : [`${index} ${name}\n`]))
    await writeFile(`${this.#path}.tmp`, lines.join(""), { mode: 0o600, encoding: "latin1" })
    await rename(`${this.#path}.tmp`, this.#path)
  }

  /** The letter of a flag or keyword (without case); null: none yet, or no such system flag. */
  letterOf(flag: string): string | null {
    const lower = flag.toLowerCase()
    const system = SYSTEM_FLAGS.find(([, name]) => name.toLowerCase() === lower)
    if (system) return system[0]
    const index = this.#names.findIndex((name) => name?.toLowerCase() === lower)
    return index < 0 ? null : String.fromCharCode(97 + index)
  }

  /** Flags of a file name's letters, space separated. */
  flagsOf(letters: string): string {
    const known = this.#texts.get(letters)
    if (known !== undefined) return known
    const system = SYSTEM_FLAGS.filter(([letter]) => letters.includes(letter)).map(([, flag]) => flag)
    const keywords = this.#names.filter(
      (name, index) => name !== undefined && letters.includes(String.fromCharCode(97 + index)),
    )
    const text = [...system, ...keywords].join(" ")
    this.#texts.set(letters, text)
    return text
  }
}
