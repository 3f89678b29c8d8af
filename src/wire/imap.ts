import { duplexPair } from "node:stream"
import type { ListenAddress } from "../config/config.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import type { AppendProtection, CertifiedDevices, DeviceSession, Devices, Upstream } from "../imap-proxy/ports.ts"
import { PROXY_LIMITS } from "../imap-proxy/ports.ts"
import { type ImapListener, startImapProxy } from "../imap-proxy/server.ts"
import type { MailStore } from "../mailbox/store.ts"
import { planUpload } from "../pipeline/append.ts"
import { HeldOctets } from "../pipeline/held-octets.ts"
import { MarkerCheck } from "../pipeline/marker.ts"
import type { Directory } from "../pipeline/ports.ts"
import type { Core } from "./core.ts"
import type { LiveDevice, LiveDevices } from "./devices.ts"
import type { AccountRecryptors } from "./recryptors.ts"
import type { LiveTls } from "./tls.ts"

/** What the IMAP role needs beside the core. */
export interface ImapParts {
  readonly devices: LiveDevices
  readonly recryptors: AccountRecryptors
  readonly directory: Directory
  readonly upstream: Upstream
  readonly tls: LiveTls
  readonly markerKey: Uint8Array
  /** What is done about a stored message that does not fit its marker. */
  readonly onAltered: "report" | "refuse"
}

/** The IMAP listeners that the configuration names. */
export async function startImap(core: Core, parts: ImapParts): Promise<[string, ImapListener][]> {
  const listeners: [string, ImapListener][] = []
  const protection = protectionOf(parts.directory, new HeldOctets(HELD_OCTETS))
  for (const name of ["imap", "imaps", "imapsClient"] as const) {
    const listen = core.config.listen[name]
    if (listen) listeners.push([name, await startOne(name, listen, core, { ...parts, protection })])
  }
  return listeners
}

async function startOne(
  name: "imap" | "imaps" | "imapsClient",
  { host, port }: ListenAddress,
  core: Core,
  parts: ImapParts & { readonly protection: AppendProtection },
): Promise<ImapListener> {
  const { limits } = core.config
  const listener = await startImapProxy({
    host,
    port,
    tlsMode: name === "imap" ? "starttls" : "implicit",
    tls: parts.tls.current,
    devices: devicesOf(parts),
    ...(name === "imapsClient" ? { certificates: certifiedOf(parts) } : {}),
    upstream: parts.upstream,
    protection: parts.protection,
    limits: {
      ...PROXY_LIMITS,
      connections: limits.imapConnections,
      idleTimeoutMs: limits.imapIdleMs,
      appendOctets: limits.messageSizeOctets,
    },
    log: core.log,
    counters: core.counters,
  })
  parts.tls.onChange((tls) => listener.reloadTls(tls))
  return listener
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
    scope: recryptors.scope(device),
    recryptors: recryptors.forDevice(device),
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
