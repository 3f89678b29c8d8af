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
  #calls = 0

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on("data", (octets) => this.#read(octets))
    socket.on("close", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("marionette: connection closed"))
      this.#waiting.clear()
    })
  }

  /** Waits until the program listens on `port`, then starts a session with chrome rights. Dialogues are dismissed. */
  static async connect(port: number, deadlineMs = 60_000): Promise<Marionette> {
    const marionette = new Marionette(await retry(() => open(port), deadlineMs))
    await marionette.#command("WebDriver:NewSession", {
      capabilities: { alwaysMatch: { unhandledPromptBehavior: "dismiss", timeouts: { script: 60_000 } } },
    })
    await marionette.#command("Marionette:SetContext", { value: "chrome" })
    return marionette
  }

  /**
   * Runs `body` as an async function in the program; its arguments are `args`, its value comes back as JSON.
   * A dialogue that opens meanwhile does not disturb it: Marionette then gives up waiting, so the promise is kept there and asked again.
   */
  async run<T>(body: string, args: readonly unknown[] = [], deadlineMs = 60_000): Promise<T> {
    const key = `call${++this.#calls}`
    await this.#command("WebDriver:ExecuteScript", {
      script: `const [key, ...args] = arguments; const tell = (error) => ({ error: String(error) + "\\n" + (error?.stack ?? "") });
        (globalThis.posternCalls ??= {})[key] = (async (...args) => { ${body} })(...args).then((value) => ({ value }), tell)`,
      args: [key, ...args],
      ...SANDBOX,
    })
    const answer = await this.#answerOf(key, Date.now() + deadlineMs)
    if (answer.error !== undefined) throw new Error(answer.error)
    return answer.value as T
  }

  async #answerOf(key: string, end: number): Promise<Answer> {
    while (Date.now() < end) {
      const answer = (await this.#command("WebDriver:ExecuteAsyncScript", {
        script: "const [key, done] = arguments; globalThis.posternCalls[key].then(done)",
        args: [key],
        ...SANDBOX,
      })) as { readonly value: Answer | null }
      if (answer.value !== null) return answer.value
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    throw new Error("marionette: no answer; is a dialogue open?")
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

/** What a script answers. */
type Answer = { readonly value?: unknown; readonly error?: string }

/** One sandbox with the rights of the program itself, kept between calls. */
const SANDBOX = { sandbox: "system", newSandbox: false } as const

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
