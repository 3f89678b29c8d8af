import { duplexPair } from "node:stream"
import { randomOctets } from "../crypto/primitives/random.ts"
import type { AppendProtection, DeviceSession, Devices, Upstream } from "../imap-proxy/ports.ts"
import { PROXY_LIMITS } from "../imap-proxy/ports.ts"
import { type ImapListener, startImapProxy } from "../imap-proxy/server.ts"
import type { MailStore } from "../mailbox/store.ts"
import { planUpload } from "../pipeline/append.ts"
import { MarkerCheck } from "../pipeline/marker.ts"
import type { Directory } from "../pipeline/ports.ts"
import type { Core } from "./core.ts"
import type { LiveDevices } from "./devices.ts"
import type { AccountRecryptors } from "./recryptors.ts"
import type { ServerTls } from "./tls.ts"

/** What the IMAP role needs beside the core. */
export interface ImapParts {
  readonly devices: LiveDevices
  readonly recryptors: AccountRecryptors
  readonly directory: Directory
  readonly upstream: Upstream
  readonly tls: ServerTls
  readonly markerKey: Uint8Array
  /** What is done about a stored message that does not fit its marker. */
  readonly onAltered: "report" | "refuse"
}

/** The IMAP listeners that the configuration names. */
export async function startImap(core: Core, parts: ImapParts): Promise<[string, ImapListener][]> {
  const listeners: [string, ImapListener][] = []
  for (const [name, tlsMode] of [
    ["imap", "starttls"],
    ["imaps", "implicit"],
  ] as const) {
    const listen = core.config.listen[name]
    if (!listen) continue
    listeners.push([
      name,
      await startImapProxy({
        host: listen.host,
        port: listen.port,
        tlsMode,
        tls: parts.tls,
        devices: devicesOf(parts),
        upstream: parts.upstream,
        protection: protectionOf(parts.directory),
        limits: {
          ...PROXY_LIMITS,
          connections: core.config.limits.imapConnections,
          idleTimeoutMs: core.config.limits.imapIdleMs,
          appendOctets: core.config.limits.messageSizeOctets,
        },
        log: core.log,
        counters: core.counters,
      }),
    ])
  }
  return listeners
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
  const { devices, recryptors } = parts
  return {
    async authenticate(username, password): Promise<DeviceSession | null> {
      const live = devices.authenticate(username, password)
      if (live === null) return null
      const { account, device, revoked } = live
      return {
        account: account.address,
        device: device.name,
        readOnly: device.readOnly,
        scope: recryptors.scope(device),
        recryptors: recryptors.forDevice(device),
        restorers: recryptors.restorers(account),
        revoked,
        markers: { onAltered: parts.onAltered, check: () => new MarkerCheck(parts.markerKey, account.address) },
      }
    },
  }
}

function protectionOf(directory: Directory): AppendProtection {
  return {
    async plan(account, upload) {
      const rest = directory.atRest(account)
      return rest === null
        ? { kind: "refuse", text: "no such account any more" }
        : planUpload(upload, randomOctets(32), rest)
    },
  }
}
