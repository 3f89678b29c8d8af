import { type AddressInfo, createServer } from "node:net"
import { MailStore } from "../../src/mailbox/store.ts"

/** A mail store behind a TCP listener, as a pre-authenticated server for one account. */
export interface ServedStore extends AsyncDisposable {
  readonly store: MailStore
  readonly port: number
}

/** The account that is served. */
export const ACCOUNT = "alice@example.test"

/** Listens on a free port of loopback. */
export async function serveStore(root: string, options: { readonly readOnly?: boolean } = {}): Promise<ServedStore> {
  const store = new MailStore(root)
  const stop = new AbortController()
  const server = createServer((socket) => {
    socket.setNoDelay(true)
    void store.serve(ACCOUNT, socket, { signal: stop.signal, ...options })
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  return {
    store,
    port,
    async [Symbol.asyncDispose]() {
      stop.abort()
      await store[Symbol.asyncDispose]()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

let delivered = 0

/** Stores a message given as text with LF line ends. */
export async function deliver(store: MailStore, text: string, internalDate = new Date()): Promise<void> {
  const octets = crlf(text)
  delivered += 1
  await store.deliver(ACCOUNT, {
    uniqueName: `job${delivered}`,
    sizeOctets: octets.length,
    content: pieces(octets),
    internalDate,
    repeated: false,
  })
}

/** Text with CRLF line ends as octets. */
export function crlf(text: string): Uint8Array {
  return Buffer.from(text.replaceAll("\n", "\r\n"), "utf8")
}

async function* pieces(octets: Uint8Array): AsyncGenerator<Uint8Array> {
  yield octets
}
