import { connect, type IpcNetConnectOpts, type Socket, type TcpNetConnectOpts } from "node:net"
import type { LendingStream, Take } from "../octets.ts"

/**
 * A socket that is read into `buffer`, which it may share with others: what arrives is used or copied before the next read. Otherwise
 * Node makes 64 KiB for each read, and copies what came into memory of its size. It is a stream as any other before it lends and after.
 */
export function lendingSocket(
  options: TcpNetConnectOpts | IpcNetConnectOpts,
  buffer: Uint8Array,
): Socket & LendingStream {
  let lend: ((octets: Uint8Array) => boolean) | null = null
  const socket: Socket = connect({
    ...options,
    onread: {
      buffer,
      // Socket.push and this answer the same question: whether to go on reading.
      callback: (size) => {
        const octets = buffer.subarray(0, size)
        return lend === null ? socket.push(Buffer.from(octets)) : lend(octets)
      },
    },
  })
  return Object.assign(socket, {
    lendTo: (take: Take, failed: (error: unknown) => void): void => {
      lend = (octets) => lentTo(take, octets, socket, failed)
      // Reading stopped if the stream's own buffer was full.
      socket.resume()
    },
    lendNoMore: (): void => {
      lend = null
    },
  })
}

/** @returns whether to go on reading */
function lentTo(take: Take, octets: Uint8Array, socket: Socket, failed: (error: unknown) => void): boolean {
  try {
    const waited = take(octets)
    if (waited === null) return true
    waited.then(() => socket.resume(), failed)
  } catch (error) {
    failed(error)
  }
  return false
}
