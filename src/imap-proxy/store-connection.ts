import type { Socket } from "node:net"
import { GatewayError } from "../errors.ts"
import type { Counters } from "../log/counters.ts"
import type { Log } from "../log/log.ts"
import type { Client } from "./client.ts"
import type { ClientAddress, DeviceSession, Upstream } from "./ports.ts"
import { refusalOf } from "./upstream/refusal.ts"
import { UpstreamLink } from "./upstream-link.ts"

interface StoreConnectionOptions {
  readonly upstream: Upstream
  readonly log: Log
  readonly counters: Pick<Counters, "add" | "observe">
}

/**
 * The connection to the store for a device, its greeting read; given up when the client leaves, or ends its side, or the device is revoked.
 * @returns text: what the client is told, where there is none
 */
export async function connectStore(
  socket: Socket,
  client: Client,
  session: DeviceSession,
  { upstream, log, counters }: StoreConnectionOptions,
): Promise<UpstreamLink | string> {
  // Of one controller rather than AbortSignal.any: weak references take a tenth of a login's time.
  const givenUp = new AbortController()
  const leave = (): void => givenUp.abort()
  // A client that ends its side behind more commands (`printf … | openssl s_client`) is served to the last of them; one that has nothing
  // more to say does not want the session.
  const end = (): void => {
    if (client.reader.bufferedOctets === 0) leave()
  }
  client.stream.once("close", leave).once("end", end)
  session.revoked.addEventListener("abort", leave)
  if (client.stream.readableEnded) end()
  if (session.revoked.aborted) leave()
  const startedMs = performance.now()
  try {
    const link = new UpstreamLink(await upstream.connect(session.account, addressOf(socket), givenUp.signal))
    await openLink(link, givenUp.signal)
    counters.observe("postern_imap_upstream_seconds", (performance.now() - startedMs) / 1000)
    return link
  } catch (error) {
    const code = error instanceof GatewayError ? error.code : "other"
    counters.add("postern_imap_upstream_failures_total", { code })
    return refusalOf(error, session.account, log)
  } finally {
    client.stream.off("close", leave).off("end", end)
    session.revoked.removeEventListener("abort", leave)
  }
}

/** @returns null when the client is gone */
function addressOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): ClientAddress | null {
  return remoteAddress && remotePort && localAddress && localPort
    ? { address: remoteAddress, port: remotePort, localAddress, localPort }
    : null
}

/** Reads the greeting, and gives up with the signal. */
async function openLink(link: UpstreamLink, signal: AbortSignal): Promise<void> {
  const abort = (): void => {
    link.stream.destroy()
  }
  signal.addEventListener("abort", abort, { once: true })
  link.stream.on("error", abort)
  try {
    await link.open()
  } catch (error) {
    link.stream.destroy()
    throw error
  } finally {
    signal.removeEventListener("abort", abort)
    link.stream.off("error", abort)
  }
}
