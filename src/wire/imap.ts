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
  type Upstream,
} from "../imap-proxy/ports.ts"
import { type ImapProxy, type ServeOptions, startImapProxy } from "../imap-proxy/server.ts"
import { WindowCache } from "../imap-proxy/windows.ts"
import type { MailStore } from "../mailbox/store.ts"
import { planUpload } from "../pipeline/append.ts"
import { HeldOctets } from "../pipeline/held-octets.ts"
import { MarkerCheck } from "../pipeline/marker.ts"
import type { Directory } from "../pipeline/ports.ts"
import type { Core } from "./core.ts"
import type { LiveDevice, LiveDevices } from "./devices.ts"
import { describeConnections } from "./gauges.ts"
import { type ImapKind, imapKinds, imapLimits, imapProcessesOf } from "./imap-limits.ts"
import type { AccountRecryptors } from "./recryptors.ts"
import { claim, SHARES_PORTS } from "./shared-ports.ts"
import type { LiveTls } from "./tls.ts"
import { upstreamOf } from "./upstreams.ts"

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

/** With the memory for uploads and window records that all connections of this process share. */
export function imapParts(
  core: Core,
  { directory, recryptors, markerKey }: Pick<ImapParts, "directory" | "recryptors" | "markerKey">,
  { devices, store, tls }: Pick<ImapParts, "devices" | "tls"> & { readonly store: MailStore },
): ImapParts {
  return {
    directory,
    recryptors,
    markerKey,
    devices,
    tls,
    upstream: upstreamOf(core, store),
    windows: new WindowCache(PROXY_LIMITS.windowOctets),
    held: new HeldOctets(HELD_OCTETS),
    onAltered: core.config.policy.integrity === "strict" ? "refuse" : "report",
  }
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

/** Of uploads that are being looked at, all connections together: a hundred of 1 MB, or a thousand larger ones of which the head is held. */
const HELD_OCTETS = 134_217_728
