import type { Duplex } from "node:stream"
import { OctetSource } from "../../src/imap-proxy/octets.ts"
import { type Rig, type RigOptions, scripted, startRig } from "./rig.ts"

/** The lines a test's own upstream reads; it answers with whatever the test says. */
export class Lines {
  readonly #source: OctetSource
  #received = ""

  constructor(stream: Duplex) {
    this.#source = new OctetSource(stream)
  }

  async next(): Promise<string> {
    for (;;) {
      const end = this.#received.indexOf("\r\n")
      if (end >= 0) {
        const line = this.#received.slice(0, end)
        this.#received = this.#received.slice(end + 2)
        return line
      }
      const octets = await this.#source.read()
      if (octets === null) throw new Error("client went away")
      this.#received += Buffer.from(octets).toString("latin1")
    }
  }
}

export const CAPABILITIES =
  "IMAP4rev1 IDLE UIDPLUS LOGIN-REFERRALS COMPRESS=DEFLATE BINARY CATENATE MULTIAPPEND NOTIFY URLAUTH"
const SELECTED = "* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n"

/** An upstream that answers each command by `answer` (`$` is the tag); what it does not know is OK. */
export async function upstreamOf(
  answer: (command: string) => string | null,
  greeting = `* PREAUTH [CAPABILITY ${CAPABILITIES}] ready\r\n`,
  options: Partial<RigOptions> = {},
): Promise<{ rig: Rig; commands: string[] } & AsyncDisposable> {
  const commands: string[] = []
  const server = await scripted(async (stream) => {
    stream.write(greeting)
    const lines = new Lines(stream)
    for (;;) {
      const line = await lines.next()
      const [tag = "", ...words] = line.split(" ")
      const command = words.join(" ")
      commands.push(command)
      const text = answer(command) ?? (command.startsWith("SELECT") ? `${SELECTED}$ OK done` : "$ OK done")
      if (text === "END") return
      stream.write(Buffer.from(`${text.replace("$", tag)}\r\n`, "latin1"))
    }
  })
  const rig = await startRig({ upstream: server.upstream, ...options })
  return {
    rig,
    commands,
    [Symbol.asyncDispose]: async () => {
      await rig[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}
