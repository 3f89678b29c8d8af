import { open, readFile, rename } from "node:fs/promises"
import { join } from "node:path"
import { withDotlock } from "./dotlock.ts"
import { isCode } from "./fs-errors.ts"

/** Dovecot's file of subscribed mailboxes: version 2 (`V<TAB>2`, empty line, one name a line, levels parted by TAB). */
export class Subscriptions {
  readonly #path: string

  constructor(maildir: string) {
    this.#path = join(maildir, "subscriptions")
  }

  /** @returns null when nobody ever subscribed: the file is not there */
  async read(): Promise<string[] | null> {
    try {
      const lines = (await readFile(this.#path, "latin1")).split("\n").filter((line) => line !== "")
      // Version 1 had the names as they are.
      return lines[0] === "V\t2" ? lines.slice(1).map((line) => line.replaceAll("\t", ".")) : lines
    } catch (error) {
      if (isCode(error, "ENOENT")) return null
      throw error
    }
  }

  async change(work: (names: ReadonlySet<string>) => Iterable<string>): Promise<void> {
    await withDotlock(`${this.#path}.lock`, async () => {
      const names = [...new Set(work(new Set((await this.read()) ?? [])))]
      const lines = names.map((name) => `${name.replaceAll(".", "\t")}\n`)
      {
        await using file = await open(`${this.#path}.tmp`, "w", 0o600)
        await file.writeFile(`V\t2\n\n${lines.join("")}`, "latin1")
        await file.sync()
      }
      await rename(`${this.#path}.tmp`, this.#path)
    })
  }
}
