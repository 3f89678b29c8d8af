import type { Socket } from "node:net"
import { createSecureContext, DEFAULT_CIPHERS, type SecureContext, TLSSocket, type TLSSocketOptions } from "node:tls"
import { publicKeyFingerprint, readCertificate } from "../crypto/cms/certificate.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import type { Log } from "../log/log.ts"

/** A certificate with its chain, and its key, PEM. */
export interface TlsIdentity {
  readonly certificate: string
  readonly key: string
}

/** What the TLS of a listener is made of. */
export interface TlsMaterial extends TlsIdentity {
  /** Other identities, by the name that a client asks for (RFC 6066 §3), in lower case. */
  readonly names?: ReadonlyMap<string, TlsIdentity>
  /**
   * 48 octets that session tickets are sealed with (RFC 5077, RFC 8446 §4.6.1): processes that have the same ones resume each other's
   * sessions. Absent: the listener draws its own.
   */
  readonly ticketKeys?: Uint8Array
}

export interface ListenerTlsOptions {
  /** Clients are asked for a certificate; whether they must have one is decided at login. */
  readonly asksForCertificate: boolean
  readonly log: Log
}

/** The server's side of TLS for the connections of one listener. */
export class ListenerTls {
  readonly #options: ListenerTlsOptions
  readonly #ownTicketKeys = randomOctets(TICKET_KEYS_OCTETS)
  readonly #failed = (error: Error): void => this.#options.log.debug("imap.tls", { reason: error.message })
  #socketOptions: TLSSocketOptions = {}

  /** @throws Error of node:tls where a key does not fit its certificate */
  constructor(material: TlsMaterial, options: ListenerTlsOptions) {
    this.#options = options
    this.use(material)
  }

  /** From now on handshakes use this; connections that are open keep what they began with. @throws as the constructor */
  use(material: TlsMaterial): void {
    const context = this.#context(material, material)
    const named = [...(material.names ?? [])].map(([name, one]) => [name, this.#context(one, material)] as const)
    const { asksForCertificate } = this.#options
    this.#socketOptions = {
      isServer: true,
      secureContext: context,
      // RFC 7301: who speaks another protocol to this port is refused; who names none is an ordinary client.
      ALPNProtocols: ["imap"],
      requestCert: asksForCertificate,
      // Ours are known by their keys, not by a chain: see CertifiedDevices.
      rejectUnauthorized: false,
      ...(named.length === 0 ? {} : { SNICallback: chooser(new Map(named)) }),
    }
  }

  /** TLS on the socket. @returns null when the handshake fails; the socket is destroyed then */
  async secure(socket: Socket, remote: string): Promise<TLSSocket | null> {
    const secured = new TLSSocket(socket, this.#socketOptions)
    secured.on("error", this.#failed)
    if (await handshake(secured)) return secured
    this.#options.log.debug("imap.tls.refused", { remote })
    secured.destroy()
    socket.destroy()
    return null
  }

  #context({ certificate, key }: TlsIdentity, { ticketKeys }: TlsMaterial): SecureContext {
    return createSecureContext({
      key,
      cert: certificate,
      minVersion: "TLSv1.2",
      ciphers: CIPHERS,
      honorCipherOrder: true,
      ticketKeys: Buffer.from(ticketKeys ?? this.#ownTicketKeys),
      sessionTimeout: SESSION_SECONDS,
      // A session begun where nobody was asked for a certificate must not be resumed where one is needed.
      sessionIdContext: this.#options.asksForCertificate ? "postern imap client" : "postern imap",
    })
  }
}

/**
 * The fingerprint of the key whose certificate the client has shown; that it holds the key, TLS has made sure of (RFC 8446 §4.4.3).
 * @returns null: it has shown no certificate, or one that cannot be read
 */
export function shownKey(stream: TLSSocket): Uint8Array | null {
  const shown = stream.getPeerX509Certificate()
  if (shown === undefined) return null
  try {
    return publicKeyFingerprint(readCertificate(shown.raw))
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

/** Resolves when TLS is there; false: the client has left, or the handshake failed. */
function handshake(secured: TLSSocket): Promise<boolean> {
  return new Promise((resolve) => {
    const ready = (): void => end(true)
    const lost = (): void => end(false)
    // Half-open sockets tell the peer's end only to who reads.
    const look = (): void => void secured.read(0)
    const end = (secure: boolean): void => {
      secured.off("secure", ready).off("close", lost).off("error", lost).off("end", lost).off("readable", look)
      resolve(secure)
    }
    secured.on("secure", ready).on("close", lost).on("error", lost).on("end", lost).on("readable", look)
  })
}

function chooser(named: ReadonlyMap<string, SecureContext>): NonNullable<TLSSocketOptions["SNICallback"]> {
  // Nothing chosen: the listener's own.
  return (name, choose) => choose(null, named.get(name.toLowerCase()))
}

/**
 * AES-128-GCM before AES-256-GCM: its SHA-256 is done in hardware where the other's SHA-384 is not, which is a twentieth of a handshake,
 * and it encrypts a fifth faster. Clients that know one of the two only get that.
 */
const CIPHERS = [
  "TLS_AES_128_GCM_SHA256",
  ...DEFAULT_CIPHERS.split(":").filter((name) => name !== "TLS_AES_128_GCM_SHA256"),
].join(":")
/** What OpenSSL seals tickets with: 16 octets of name, 16 of HMAC key, 16 of AES key. */
const TICKET_KEYS_OCTETS = 48
/** Phones come back within hours; tickets of yesterday's keys are refused anyway. */
const SESSION_SECONDS = 4 * 3600
