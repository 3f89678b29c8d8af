import type { Config, ListenAddress } from "../config/config.ts"
import { PROXY_LIMITS, type ProxyLimits } from "../imap-proxy/ports.ts"
import { affordableConnections } from "./descriptors.ts"

/** An IMAP listener that the configuration names. */
export interface ImapKind extends ListenAddress {
  readonly name: "imap" | "imaps" | "imapsClient"
  readonly tlsMode: "starttls" | "implicit"
}

export function imapKinds({ listen }: Config): ImapKind[] {
  return (["imap", "imaps", "imapsClient"] as const).flatMap((name) => {
    const address = listen[name]
    return address ? [{ ...address, name, tlsMode: name === "imap" ? "starttls" : "implicit" }] : []
  })
}

/** As configured, and no more connections than there are file descriptors for in so many processes. */
export function imapLimits(config: Config, processes: number): ProxyLimits {
  const { limits, imap } = config
  const upstream = imap.kind === "imap" ? imap : { connections: Infinity, connectionsPerAccount: Infinity }
  return {
    ...PROXY_LIMITS,
    // Each session has a connection to the mail store, whose limits hold for all processes together.
    connections: Math.min(limits.imapConnections, upstream.connections, affordableConnections(config, processes)),
    connectionsPerAddress: limits.imapConnectionsPerAddress,
    connectionsPerAccount: Math.min(limits.imapConnectionsPerAccount, upstream.connectionsPerAccount),
    connectionsPerDevice: limits.imapConnectionsPerDevice,
    bufferOctets: Math.ceil(limits.imapBufferOctets / processes),
    idleTimeoutMs: limits.imapIdleMs,
    appendOctets: limits.messageSizeOctets,
  }
}

/** How many processes serve IMAP: the main one alone unless stated. */
export function imapProcessesOf({ limits }: Config): number {
  return limits.imapProcesses ?? 1
}
