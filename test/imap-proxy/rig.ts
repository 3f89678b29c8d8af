import { once } from "node:events"
import { type AddressInfo, connect, createServer } from "node:net"
import { type Duplex, duplexPair } from "node:stream"
import { cmsRecryptor, cmsRestorer } from "../../src/crypto/recryption/cms.ts"
import { openPgpRecryptor } from "../../src/crypto/recryption/openpgp.ts"
import type { Recryptor } from "../../src/crypto/recryption/recryptor.ts"
import { RecryptionStream } from "../../src/crypto/recryption/stream.ts"
import type { TlsMaterial } from "../../src/imap-proxy/listener-tls.ts"
import {
  type AppendProtection,
  type CertifiedDevice,
  type CertifiedDevices,
  type DeviceSession,
  type Devices,
  type Markers,
  PROXY_LIMITS,
  type ProxyLimits,
  type StoredUpload,
  type Upstream,
} from "../../src/imap-proxy/ports.ts"
import { type ImapProxy, startImapProxy } from "../../src/imap-proxy/server.ts"
import { Counters } from "../../src/log/counters.ts"
import { type Log, silentLog } from "../../src/log/log.ts"
import { MailStore } from "../../src/mailbox/store.ts"
import { EncryptionClassifier } from "../../src/mime/classify.ts"
import { cmsRecryption, OPENPGP_KEY_ID, openpgpScalar } from "../crypto/recryption/vectors.ts"
import { type TestCertificate, testCertificate } from "../harness/certificate.ts"
import { spoiling } from "../harness/lending.ts"

/** A proxy on a free port, with two devices and a read-only one of `alice@example.test`. */
export interface Rig extends AsyncDisposable {
  readonly port: number
  readonly certificate: TestCertificate
  readonly listener: ImapProxy
  revoke(device: string): void
  /** How often a counter was raised, over all labels. */
  counted(name: string): number
  /** Prometheus text. */
  metrics(): Promise<string>
}

export interface RigOptions {
  readonly upstream: Upstream
  readonly tlsMode?: "starttls" | "implicit"
  readonly limits?: Partial<ProxyLimits>
  readonly protection?: AppendProtection
  readonly markers?: Markers
  /** Asks for certificates: whose each key is, by the hexadecimal fingerprint. */
  readonly owners?: ReadonlyMap<string, CertifiedDevice>
  readonly tls?: TlsMaterial
  readonly log?: Log
  /** Instead of the three devices. */
  readonly devices?: Devices
}

export const ACCOUNT = "alice@example.test"
/** Passwords, each of one device. */
export const LAPTOP = 'lap "top\\'
export const PHONE = "phone"
export const READER = "reader"
/** Of the phone as well. */
export const UTF8 = 'pä"ß\\wörd'

const recryptorsOf: Readonly<Record<string, readonly Recryptor[]>> = {
  [LAPTOP]: [cmsRecryptor(cmsRecryption("dev1")), openPgpRecryptor({ keyId: OPENPGP_KEY_ID, scalar: openpgpScalar })],
  [PHONE]: [cmsRecryptor(cmsRecryption("dev2"))],
  [UTF8]: [cmsRecryptor(cmsRecryption("dev2"))],
  [READER]: [cmsRecryptor(cmsRecryption("dev2"))],
}
const restorers = [cmsRestorer(cmsRecryption("dev1")), cmsRestorer(cmsRecryption("dev2"))]

let certificate: Promise<TestCertificate> | null = null

export async function startRig(options: RigOptions): Promise<Rig> {
  certificate ??= testCertificate()
  const tls = await certificate
  const sessionOf = (device: string): DeviceSession | null =>
    deviceSession(device, recryptorsOf[device] ?? [], revocations, options.markers ?? UNMARKED)
  const revocations = new Map<string, AbortController>()
  const counters = new Counters()
  const counts = new Map<string, number>()
  const listener = await startImapProxy({
    host: "127.0.0.1",
    port: 0,
    tlsMode: options.tlsMode ?? "starttls",
    tls: options.tls ?? tls,
    devices: options.devices ?? {
      authenticate: async (username, password) =>
        username.toLowerCase() === ACCOUNT && recryptorsOf[password] !== undefined ? sessionOf(password) : null,
    },
    ...(options.owners === undefined ? {} : { certificates: certifiedBy(options.owners, sessionOf) }),
    upstream: options.upstream,
    protection: options.protection ?? HEX_PROTECTION,
    limits: { ...PROXY_LIMITS, failureDelayMs: 1, ...options.limits },
    log: options.log ?? silentLog(),
    counters: {
      add: (name, labels, count = 1) => {
        counts.set(name, (counts.get(name) ?? 0) + count)
        counters.add(name, labels, count)
      },
      tally: (name, labels) => counters.tally(name, labels),
      observe: (name, seconds) => counters.observe(name, seconds),
      beforeReading: (act) => counters.beforeReading(act),
    },
  })
  return {
    port: listener.address().port,
    certificate: tls,
    listener,
    revoke: (device) => revocations.get(device)?.abort(),
    counted: (name) => counts.get(name) ?? 0,
    metrics: () => counters.text(),
    [Symbol.asyncDispose]: () => listener.close(0),
  }
}

function certifiedBy(
  owners: ReadonlyMap<string, CertifiedDevice>,
  sessionOf: (device: string) => DeviceSession | null,
): CertifiedDevices {
  const owner = (key: Uint8Array): CertifiedDevice | null => owners.get(Buffer.from(key).toString("hex")) ?? null
  return {
    owner,
    logIn: async (key) => {
      const found = owner(key)
      return found === null ? null : sessionOf(found.device)
    },
  }
}

function deviceSession(
  device: string,
  recryptors: readonly Recryptor[],
  revocations: Map<string, AbortController>,
  markers: Markers,
): DeviceSession | null {
  const revocation = revocations.get(device) ?? new AbortController()
  revocations.set(device, revocation)
  if (revocation.signal.aborted) return null
  return {
    account: ACCOUNT,
    device,
    readOnly: device === READER,
    scope: device,
    recryptors,
    markers,
    revoked: revocation.signal,
  }
}

/**
 * Stands in for the pipeline: what is clear is stored as hexadecimal digits behind a field of ours, with a known length; what is
 * encrypted stays, in the account's form.
 */
export const HEX_PROTECTION: AppendProtection = {
  plan: async (_account, { content }) => {
    const stream = new RecryptionStream(restorers)
    const pieces: Uint8Array[] = []
    for await (const octets of content) pieces.push(...stream.push(octets))
    const message = Buffer.concat([...pieces, ...stream.end()])
    if (message.includes("refuse me")) return { kind: "refuse", text: "not this one" }
    const classifier = new EncryptionClassifier()
    classifier.push(message)
    const restored = stream.counts.patched
    if (classifier.end() !== "clear") return storedUpload("asIs", message.length, [message], restored)
    const hex = Buffer.from(HEX_HEAD + message.toString("hex"))
    return storedUpload("encrypt", hex.length, [hex], restored)
  },
}

/** The same for what is clear, without holding it: for uploads larger than a test should have in memory. */
export const STREAMING_HEX_PROTECTION: AppendProtection = {
  plan: async (_account, { sizeOctets, content }) =>
    storedUpload("encrypt", HEX_HEAD.length + 2 * sizeOctets, hexOf(content)),
}

async function* hexOf(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield Buffer.from(HEX_HEAD)
  for await (const octets of content) yield Buffer.from(Buffer.from(octets).toString("hex"))
}

/** What a protection of a test's own answers. */
export function storedUpload(
  kind: StoredUpload["kind"],
  sizeOctets: number,
  content: readonly Uint8Array[] | AsyncIterable<Uint8Array>,
  restored = 0,
): StoredUpload {
  const pieces = (async function* () {
    yield* content
  })()
  return { kind, sizeOctets, content: pieces, restored, release: () => undefined }
}

export const HEX_HEAD = "Subject: hidden\r\n\r\n"

/** The embedded store in `root`, as wire.ts composes it. */
export function embedded(root: string): { readonly store: MailStore; readonly upstream: Upstream } & AsyncDisposable {
  const store = new MailStore(root)
  return {
    store,
    upstream: {
      connect: async (account, _client, signal) => {
        const [ours, theirs] = duplexPair()
        void store.serve(account, theirs, { signal }).catch(() => ours.destroy())
        return ours
      },
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  }
}

/** An upstream that a test plays itself, line by line, over a real socket. */
export async function scripted(
  serve: (stream: Duplex) => Promise<void>,
): Promise<{ readonly upstream: Upstream } & AsyncDisposable> {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => undefined)
    serve(socket)
      .catch(() => undefined)
      .finally(() => socket.destroy())
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  return {
    upstream: {
      connect: async () => {
        const socket = connect({ port, host: "127.0.0.1", noDelay: true })
        await once(socket, "connect")
        return spoiling(socket)
      },
    },
    [Symbol.asyncDispose]: async () => {
      server.close()
    },
  }
}

/** Nobody vouches for the messages of this rig; the check itself is tested with the pipeline. */
const UNMARKED: DeviceSession["markers"] = {
  onAltered: "report",
  check: () => ({ push: () => undefined, end: () => "none" }),
}
