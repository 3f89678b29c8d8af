import { once } from "node:events"
import { createServer, type Server, type Socket } from "node:net"

/** What a {@link FakeClamd} does with a message that has been read whole: its reply with the NUL. */
type Answer = (message: Buffer) => string

/** Speaks INSTREAM as clamd(8) has it, on a loopback port. Whole messages are kept. */
export class FakeClamd implements AsyncDisposable {
  readonly messages: Buffer[] = []
  readonly #answer: Answer
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(answer: Answer) {
    this.#answer = answer
    this.#server = createServer((socket) => this.#serve(socket))
  }

  /** `port` 0: any free one. */
  static async start(answer: Answer = findEicar, port = 0): Promise<FakeClamd> {
    const fake = new FakeClamd(answer)
    fake.#server.listen(port, "127.0.0.1")
    await once(fake.#server, "listening")
    return fake
  }

  get port(): number {
    const address = this.#server.address()
    return address !== null && typeof address === "object" ? address.port : 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    let held = Buffer.alloc(0)
    const pieces: Buffer[] = []
    socket.on("error", () => undefined)
    socket.on("close", () => this.#sockets.delete(socket))
    socket.on("data", (octets) => {
      held = Buffer.concat([held, octets])
      if (pieces.length === 0 && held.subarray(0, GREETING.length).equals(GREETING)) {
        held = held.subarray(GREETING.length)
        pieces.push(Buffer.alloc(0))
      }
      while (pieces.length > 0 && held.length >= 4 && held.length >= 4 + held.readUInt32BE()) {
        const end = 4 + held.readUInt32BE()
        if (end === 4) return this.#finish(socket, Buffer.concat(pieces))
        pieces.push(held.subarray(4, end))
        held = held.subarray(end)
      }
    })
  }

  #finish(socket: Socket, message: Buffer): void {
    this.messages.push(message)
    socket.end(this.#answer(message))
  }
}

/** The EICAR test string, which scanners take for a virus; in two halves, so that they do not take this file for one. */
export const EICAR = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}", "$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].join("")

function findEicar(message: Buffer): string {
  return message.includes(EICAR) ? "stream: Eicar-Test-Signature FOUND\0" : "stream: OK\0"
}

const GREETING = Buffer.from("zINSTREAM\0")
