import { duplexPair } from "node:stream"
import type { Config, ListenAddress } from "../config/config.ts"
import type { HmacKey } from "../crypto/primitives/hash.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import type { ImapListener } from "../imap-proxy/listener.ts"
import { Places } from "../imap-proxy/places.ts"
import {
  type AppendProtection,
  type CertifiedDevices,
  type DeviceSession,
  type Devices,
  PROXY_LIMITS,
  type ProxyLimits,
  type Upstream,
} from "../imap-proxy/ports.ts"
import { type ImapProxy, type ServeOptions, startImapProxy } from "../imap-proxy/server.ts"
import type { WindowCache } from "../imap-proxy/windows.ts"
import type { MailStore } from "../mailbox/store.ts"
import { planUpload } from "../pipeline/append.ts"
import { HeldOctets } from "../pipeline/held-octets.ts"
import { MarkerCheck } from "../pipeline/marker.ts"
import type { Directory } from "../pipeline/ports.ts"
import type { Core } from "./core.ts"
import { affordableConnections } from "./descriptors.ts"
import type { LiveDevice, LiveDevices } from "./devices.ts"
import { describeConnections } from "./gauges.ts"
import type { AccountRecryptors } from "./recryptors.ts"
import { claim, SHARES_PORTS } from "./shared-ports.ts"
import type { LiveTls } from "./tls.ts"

/** What the IMAP role needs beside the core. */
export interface ImapParts {
  readonly devices: LiveDevices
  readonly recryptors: AccountRecryptors
  readonly directory: Directory
  readonly upstream: Upstream
  readonly tls: LiveTls
  readonly markerKey: HmacKey
  readonly windows: WindowCache
  /** What is done about a stored message that does not fit its marker. */
  readonly onAltered: "report" | "refuse"
  /** What uploads hold in memory, all of this process together. */
  readonly held: HeldOctets
}

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

/** The IMAP listeners that the configuration names, served in this process. Others of ours may listen on what is `held`. */
export async function startImap(
  core: Core,
  parts: ImapParts,
  held: ReadonlySet<string>,
): Promise<[string, ImapListener][]> {
  const seats = new Places(imapLimits(core.config, 1))
  const listeners: [string, ImapProxy][] = []
  for (const kind of imapKinds(core.config)) {
    const { host, port } = await claim(kind.name, kind, held)
    const options = { ...serveOptions(core, parts, kind), host, port, seats, sharesPort: SHARES_PORTS }
    const listener = await startImapProxy(options)
    parts.tls.onChange((tls) => listener.reloadTls(tls))
    listeners.push([kind.name, listener])
  }
  describeConnections(core.counters, "main", parts.windows, () => listeners.map(([, { connections }]) => connections))
  return listeners
}

/** How the connections of one kind of listener are served. */
export function serveOptions(core: Core, parts: ImapParts, { name, tlsMode }: ImapKind): ServeOptions {
  return {
    tlsMode,
    tls: parts.tls.current,
    devices: devicesOf(parts),
    ...(name === "imapsClient" ? { certificates: certifiedOf(parts) } : {}),
    upstream: parts.upstream,
    protection: protectionOf(parts.directory, parts.held),
    limits: imapLimits(core.config, imapProcessesOf(core.config)),
    windows: parts.windows,
    log: core.log,
    counters: core.counters,
  }
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

/** The embedded store: its IMAP server on the other end of a pipe in this process. */
export function embeddedUpstream(store: MailStore): Upstream {
  return {
    async connect(account, _client, signal) {
      const [ours, theirs] = duplexPair()
      store
        .serve(account, theirs, { signal })
        .catch((error: unknown) => ours.destroy(error instanceof Error ? error : new Error(String(error))))
      return ours
    },
  }
}

function devicesOf(parts: ImapParts): Devices {
  return {
    async authenticate(username, password, remote) {
      const live = await parts.devices.authenticate({ username, password, remote })
      return live === null || live === "limited" ? live : sessionOf(live, parts)
    },
  }
}

function certifiedOf(parts: ImapParts): CertifiedDevices {
  return {
    owner: (key) => parts.devices.ownerOf(key),
    async logIn(key) {
      const live = parts.devices.certified(key)
      return live === null ? null : sessionOf(live, parts)
    },
  }
}

function sessionOf({ account, device, revoked }: LiveDevice, parts: ImapParts): DeviceSession {
  const { recryptors, markerKey } = parts
  return {
    account: account.address,
    device: device.name,
    readOnly: device.readOnly,
    ...recryptors.forDevice(device),
    revoked,
    markers: { onAltered: parts.onAltered, check: () => new MarkerCheck({ markerKey, account: account.address }) },
  }
}

function protectionOf(directory: Directory, memory: HeldOctets): AppendProtection {
  return {
    async plan(account, upload) {
      const rest = directory.atRest(account)
      return rest === null
        ? { kind: "refuse", text: "no such account any more" }
        : planUpload(upload, randomOctets(32), rest, memory)
    },
  }
}

/** What uploads may hold in one process. */
export function uploadMemory(): HeldOctets {
  return new HeldOctets(HELD_OCTETS)
}

export function onAlteredOf({ policy }: Config): "report" | "refuse" {
  return policy.integrity === "strict" ? "refuse" : "report"
}

/** Of uploads that are being looked at, all connections together: a hundred of 1 MB, or a thousand larger ones of which the head is held. */
const HELD_OCTETS = 134_217_728
