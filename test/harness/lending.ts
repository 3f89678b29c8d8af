import type { Duplex } from "node:stream"
import { type LendingStream, OctetSource, type Take } from "../../src/imap-proxy/octets.ts"

/** Lends as the sockets of the proxy do, and spoils what was lent as soon as it is given back: whoever kept it is found out. */
export function spoiling(stream: Duplex): LendingStream {
  let source: OctetSource | null = null
  return Object.assign(stream, {
    lendTo: (take: Take, failed: (error: unknown) => void): void => {
      source = new OctetSource(stream)
      lend(source, take).catch(failed)
    },
    lendNoMore: (): void => source?.detach(),
  })
}

async function lend(source: OctetSource, take: Take): Promise<void> {
  for (let octets = await source.read(); octets !== null; octets = await source.read()) {
    const lent = Uint8Array.from(octets)
    const waited = take(lent)
    lent.fill(SPOILT)
    await waited
  }
}

const SPOILT = "!".charCodeAt(0)
