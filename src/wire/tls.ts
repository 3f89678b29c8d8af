import { readFileSync } from "node:fs"
import { createSecureContext } from "node:tls"
import type { Config, TlsFiles } from "../config/config.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import type { Log } from "../log/log.ts"

/** A certificate with its chain, and its key, PEM. */
export interface TlsIdentity {
  readonly certificate: string
  readonly key: string
}

/** What our listeners show, and what they seal session tickets with. */
export interface ServerTls extends TlsIdentity {
  /** Other identities, by the name that a client asks for. */
  readonly names: ReadonlyMap<string, TlsIdentity>
  /** 48 octets; the same in every process that is to resume the others' sessions. */
  readonly ticketKeys: Uint8Array
}

/** How often the files are looked at, milliseconds: certificates are renewed weeks before they end. */
const LOOK_MS = 60_000
/** How long tickets are sealed with the same keys, milliseconds: whoever learns them reads no more of TLS 1.2 than that. */
const TICKET_KEYS_MS = 12 * 3600_000

/**
 * The TLS of this process's listeners: follows its files, so that a renewed certificate is shown without a restart and without
 * anybody losing a connection, and changes the ticket keys in time.
 */
export class LiveTls implements Disposable {
  readonly #config: Config
  readonly #log: Log
  readonly #listeners = new Set<(tls: ServerTls) => void>()
  readonly #look: NodeJS.Timeout
  #draw: NodeJS.Timeout | null
  #current: ServerTls

  /**
   * `ticketKeys`: those of several processes together; whoever gave them changes them too, by {@link useTicketKeys}.
   * @throws GatewayError CONFIG_INVALID naming the file that cannot be read, or whose key does not fit
   */
  constructor(config: Config, log: Log, ticketKeys: Uint8Array | null = null) {
    this.#config = config
    this.#log = log
    this.#current = { ...readIdentities(config), ticketKeys: ticketKeys ?? drawTicketKeys() }
    this.#look = setInterval(() => this.reload(), LOOK_MS).unref()
    this.#draw =
      ticketKeys === null ? setInterval(() => this.#use({ ticketKeys: drawTicketKeys() }), TICKET_KEYS_MS) : null
    this.#draw?.unref()
  }

  get current(): ServerTls {
    return this.#current
  }

  /** Called with what new handshakes are to use. */
  onChange(listener: (tls: ServerTls) => void): void {
    this.#listeners.add(listener)
  }

  /** From now on tickets are sealed with these; those of the old keys lead to a full handshake. */
  useTicketKeys(ticketKeys: Uint8Array): void {
    if (this.#draw !== null) clearInterval(this.#draw)
    this.#draw = null
    this.#use({ ticketKeys })
  }

  /** Looks at the files now. What cannot be used (half written, say) is logged, and what was used before stays. */
  reload(): void {
    try {
      const read = readIdentities(this.#config)
      if (sameIdentities(read, this.#current)) return
      this.#use(read)
      this.#log.info("tls.reloaded")
    } catch (error) {
      this.#log.error("tls.not-reloaded", {}, error)
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#look)
    if (this.#draw !== null) clearInterval(this.#draw)
  }

  #use(changed: Partial<ServerTls>): void {
    this.#current = { ...this.#current, ...changed }
    for (const listener of this.#listeners) listener(this.#current)
  }
}

/** Keys for {@link ServerTls.ticketKeys}. */
export function drawTicketKeys(): Uint8Array {
  return randomOctets(48)
}

function readIdentities({ tls }: Config): Omit<ServerTls, "ticketKeys"> {
  const names = tls.names.map((files) => [files.name, readIdentity(files, `tls.names of ${files.name}`)] as const)
  return { ...readIdentity(tls, "tls"), names: new Map(names) }
}

function readIdentity(files: TlsFiles, where: string): TlsIdentity {
  const identity = {
    certificate: read(files.certificate, `${where}: certificate`),
    key: read(files.key, `${where}: key`),
  }
  try {
    checkIdentity(identity)
    return identity
  } catch (cause) {
    const message = `${where}: ${files.certificate} and ${files.key} are not a certificate and its key`
    throw new GatewayError("CONFIG_INVALID", message, { cause })
  }
}

/** @throws Error for what is not PEM, and for a key that is not the certificate's */
function checkIdentity({ certificate, key }: TlsIdentity): void {
  // node:tls takes an empty text for none at all.
  if (certificate.trim() === "" || key.trim() === "") throw new Error("empty file")
  createSecureContext({ cert: certificate, key })
}

function read(path: string, key: string): string {
  try {
    return readFileSync(path, "utf8")
  } catch (cause) {
    throw new GatewayError("CONFIG_INVALID", `${key}: cannot read ${path}`, { cause })
  }
}

function sameIdentities(a: Omit<ServerTls, "ticketKeys">, b: Omit<ServerTls, "ticketKeys">): boolean {
  const text = (tls: Omit<ServerTls, "ticketKeys">): string =>
    JSON.stringify([tls.certificate, tls.key, [...tls.names].map(([name, one]) => [name, one.certificate, one.key])])
  return text(a) === text(b)
}
