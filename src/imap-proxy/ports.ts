import type { Duplex } from "node:stream"
import type { Recryptor } from "../crypto/recryption/recryptor.ts"
import type { PlaceLimits } from "./places.ts"

/** Who may log in. Throws only when it cannot answer. */
export interface Devices {
  /**
   * @returns null for a wrong name or password and for a revoked device alike; `limited`: too much was guessed from there, so that
   * this password was not looked at
   */
  authenticate(username: string, password: string, remote: string): Promise<DeviceSession | "limited" | null>
}

/** Devices that are known by the key of their TLS certificate. Throws only when it cannot answer. */
export interface CertifiedDevices {
  /** `key`: SHA-256 of its SubjectPublicKeyInfo. @returns null when it is no live device's */
  owner(key: Uint8Array): CertifiedDevice | null
  /** @returns null when it is no live device's any more */
  logIn(key: Uint8Array): Promise<DeviceSession | null>
}

/** The device that a certificate is of. */
export interface CertifiedDevice {
  readonly account: string
  readonly device: string
  /** Its certificate has ended. */
  readonly expired: boolean
}

/** One logged-in device. Its recryptors stay the same for the life of the connection. */
export interface DeviceSession {
  readonly account: string
  readonly device: string
  readonly readOnly: boolean
  /** Names the device and the keys that its recryptors are made of: what one connection learns of a message holds for all of this scope. */
  readonly scope: string
  /** From the account's keys to this device, for what is read. */
  readonly recryptors: readonly Recryptor[]
  /** Aborted when the device is revoked, or (STATE_AWAY is the reason) nobody can say whether it is: the connection ends at once. */
  readonly revoked: AbortSignal
  /** Looks whether stored messages are still what was put there. */
  readonly markers: Markers
}

/** Whether stored messages are what the gateway vouched for when it stored them. */
export interface Markers {
  /** `report`: count and log it. `refuse`: end the connection before the last octets as well. */
  readonly onAltered: "report" | "refuse"
  /** For one whole message, fed with its stable octets: those of the patch windows as zeros. */
  check(): MarkerCheck
}

/** The check of one message. */
export interface MarkerCheck {
  push(stable: Uint8Array): void
  /** @returns `none` when nobody vouched for the message */
  end(): "holds" | "altered" | "none"
}

/** The two ends of a client's connection; addresses without brackets. */
export interface ClientAddress {
  readonly address: string
  readonly port: number
  readonly localAddress: string
  readonly localPort: number
}

/** The store behind the proxy. */
export interface Upstream {
  /**
   * A connection logged in as `account`: its first line is `* PREAUTH`, with the capabilities as response code where they are known.
   * @param client null: the gateway's own business
   * @throws UPSTREAM_UNAVAILABLE when it cannot be reached or is busy, UPSTREAM_LIMIT when it has enough connections of ours,
   *   UPSTREAM_REFUSED when it does not let us in, UPSTREAM_CONSENT when only the mailbox's owner can mend that
   */
  connect(account: string, client: ClientAddress | null, signal: AbortSignal): Promise<Duplex>
  /**
   * Takes a connection back for the next login, or ends it. Nothing is selected on it, nothing in flight, and nobody has left anything that
   * the next one would notice. Absent: none is kept.
   */
  keep?(stream: Duplex): void
  /** Whose mailboxes a connection shows there: what was learned of one says nothing of another with the same names and numbers. Absent: an account has its own. */
  storeOf?(stream: Duplex): string
}

/** A message that a device uploads; its content can be had once. */
export interface Upload {
  readonly sizeOctets: number
  readonly content: AsyncIterable<Uint8Array>
}

/** What becomes of an upload. `text` may begin with a response code. */
export type UploadPlan = StoredUpload | { readonly kind: "refuse"; readonly text: string }

/** What is stored in place of an upload. */
export interface StoredUpload {
  /** `asIs`: it was encrypted already. */
  readonly kind: "asIs" | "encrypt"
  /** `content` gives exactly so many octets. It reads the rest of the upload on its way, and may throw before its end. */
  readonly sizeOctets: number
  readonly content: AsyncIterable<Uint8Array>
  /** Blocks that were in the form of a device of the account, and are the account's again. */
  readonly restored: number
  /** Gives back what is held of the upload; called at the end, whatever came of it. */
  release(): void
}

/** Sees to it that nothing is stored in clear, or so that one device only can read it. */
export interface AppendProtection {
  plan(account: string, upload: Upload): Promise<UploadPlan>
}

/** Bounds. Those of {@link PlaceLimits} hold for all processes together, the others for each process. */
export interface ProxyLimits extends PlaceLimits {
  /** TLS handshakes at once; the others wait. */
  readonly handshakes: number
  /** Held for slow peers, all connections of the process together. */
  readonly bufferOctets: number
  /** From accepting to logged in. */
  readonly loginTimeoutMs: number
  /** Without an octet either way. RFC 9051 §5.4: not below 30 minutes. */
  readonly idleTimeoutMs: number
  /** Wrong passwords on one connection before it is closed. */
  readonly loginTries: number
  /** How long a wrong password waits for its NO. */
  readonly failureDelayMs: number
  /** Of one uploaded message, as sent. */
  readonly appendOctets: number
  /** Window records of all connections together. */
  readonly windowOctets: number
}

/** 31 minutes: clients renew IDLE after 29. A window record takes some 700 octets, so 64 MiB hold 90,000; 45,000 stay in any case. */
export const PROXY_LIMITS: ProxyLimits = {
  connections: 10_000,
  beforeLogin: 1_000,
  connectionsPerAddress: 10_000,
  connectionsPerAccount: 10_000,
  connectionsPerDevice: 10_000,
  handshakes: 32,
  bufferOctets: 268_435_456,
  loginTimeoutMs: 60_000,
  idleTimeoutMs: 31 * 60_000,
  loginTries: 3,
  failureDelayMs: 2_000,
  appendOctets: 100_000_000,
  windowOctets: 67_108_864,
}
