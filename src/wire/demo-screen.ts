import type { WriteStream } from "node:tty"

/** What the demonstration writes to: coloured on a terminal, plain elsewhere. */
export class Screen {
  readonly #out: NodeJS.WritableStream & Partial<Pick<WriteStream, "isTTY" | "columns">>
  readonly #colour: boolean
  #scene = 0

  constructor(out: NodeJS.WritableStream & Partial<Pick<WriteStream, "isTTY" | "columns">>) {
    this.#out = out
    this.#colour = out.isTTY === true && process.env["NO_COLOR"] === undefined
  }

  title(name: string, what: string): void {
    this.line("")
    this.line(`  ${this.#style("1", name)}  ${what}`)
  }

  /** Begins a numbered scene. */
  scene(heading: string): void {
    this.line("")
    this.line(this.#style("1;36", `${++this.#scene}. ${heading}`))
  }

  line(text: string): void {
    this.#out.write(`${text}\n`)
  }

  /** What somebody says or reads. */
  quote(text: string): void {
    for (const line of text.split(/\r?\n/)) this.line(`     ${this.#style("2", "|")} ${line}`)
  }

  good(text: string): void {
    this.line(`   ${this.#style("32", "yes")} ${text}`)
  }

  bad(text: string): void {
    this.line(`   ${this.#style("31", "no ")} ${text}`)
  }

  note(text: string): void {
    this.line(`   ${this.#style("2", text)}`)
  }

  command(text: string): void {
    this.line(`   ${this.#style("33", "$")} ${text}`)
  }

  /** Names what is under way, and how long it took; nobody looks at a silent screen for more than a second. */
  async step<T>(what: string, act: () => Promise<T>): Promise<T> {
    const start = performance.now()
    const terminal = this.#out.isTTY === true
    if (terminal) this.#out.write(`   ${this.#style("2", "...")} ${what}`)
    try {
      return await act()
    } finally {
      const seconds = ((performance.now() - start) / 1000).toFixed(1)
      if (terminal) this.#out.write("\r\u001b[K")
      this.line(`   ${this.#style("2", `${seconds} s`)} ${what}`)
    }
  }

  #style(code: string, text: string): string {
    return this.#colour ? `\u001b[${code}m${text}\u001b[0m` : text
  }
}
