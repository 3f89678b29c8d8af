import { connect, type Socket } from "node:net"

/**
 * Drives a Mozilla program over its Marionette port: length-prefixed JSON, one answer for each command.
 * Just enough of it to run JavaScript with chrome rights.
 */
export class Marionette implements Disposable {
  readonly #socket: Socket
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  #held = Buffer.alloc(0)
  #number = 0

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on("data", (octets) => this.#read(octets))
    socket.on("close", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("marionette: connection closed"))
      this.#waiting.clear()
    })
  }

  /** Waits until the program listens on `port`, then starts a session with chrome rights. */
  static async connect(port: number, deadlineMs = 60_000): Promise<Marionette> {
    const marionette = new Marionette(await retry(() => open(port), deadlineMs))
    await marionette.#command("WebDriver:NewSession", { capabilities: {} })
    await marionette.#command("Marionette:SetContext", { value: "chrome" })
    return marionette
  }

  /** Runs `body` as an async function in the program; its arguments are `args`, its value comes back as JSON. */
  async run<T>(body: string, args: readonly unknown[] = [], timeoutMs = 60_000): Promise<T> {
    await this.#command("WebDriver:SetTimeouts", { script: timeoutMs })
    const script = `const done = arguments[arguments.length - 1]; const args = Array.from(arguments).slice(0, -1);
      (async (...args) => { ${body} })(...args).then((value) => done({ value }), (error) => done({ error: String(error) + "\\n" + (error?.stack ?? "") }))`
    const answer = (await this.#command("WebDriver:ExecuteAsyncScript", {
      script,
      args,
      sandbox: "system",
      newSandbox: false,
    })) as {
      value: { value?: T; error?: string }
    }
    if (answer.value.error !== undefined) throw new Error(answer.value.error)
    return answer.value.value as T
  }

  /** Runs `body` until it returns something true, or the deadline is over. */
  async until<T>(body: string, args: readonly unknown[] = [], deadlineMs = 30_000): Promise<T> {
    const end = Date.now() + deadlineMs
    for (;;) {
      const value = await this.run<T | null>(`${POLL} return await poll(async () => { ${body} })`, args, 30_000)
      if (value) return value
      if (Date.now() > end) throw new Error(`thunderbird: not within ${deadlineMs} ms: ${body.slice(0, 200)}`)
    }
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }

  #command(name: string, parameters: object): Promise<unknown> {
    const number = ++this.#number
    const text = JSON.stringify([0, number, name, parameters])
    this.#socket.write(`${Buffer.byteLength(text)}:${text}`)
    return new Promise((resolve, reject) => this.#waiting.set(number, { resolve, reject }))
  }

  #read(octets: Buffer): void {
    this.#held = Buffer.concat([this.#held, octets])
    for (;;) {
      const colon = this.#held.indexOf(":")
      if (colon < 0) return
      const end = colon + 1 + Number(this.#held.subarray(0, colon))
      if (this.#held.length < end) return
      const message: unknown = JSON.parse(this.#held.subarray(colon + 1, end).toString())
      this.#held = this.#held.subarray(end)
      if (Array.isArray(message)) this.#answer(message)
    }
  }

  #answer([, number, error, value]: readonly unknown[]): void {
    const waiting = this.#waiting.get(Number(number))
    this.#waiting.delete(Number(number))
    if (error) waiting?.reject(new Error(`marionette: ${JSON.stringify(error)}`))
    else waiting?.resolve(value)
  }
}

/** Polls inside the program for a second, so that waiting costs no round trips. */
const POLL = `const poll = async (ask) => { for (let i = 0; i < 20; i++) { const value = await ask(); if (value) return value;
  await new Promise((resolve) => setTimeout(resolve, 50)) } return null };`

function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1")
    socket.once("connect", () => resolve(socket))
    socket.once("error", reject)
  })
}

async function retry<T>(attempt: () => Promise<T>, deadlineMs: number): Promise<T> {
  const end = Date.now() + deadlineMs
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (Date.now() > end) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}
