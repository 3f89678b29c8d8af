import { RecryptionStream } from "../crypto/recryption/stream.ts"
import { HeaderSection } from "../mime/classify-header.ts"
import { MAX_HEADER_OCTETS } from "../mime/header.ts"
import type { MarkerMaker } from "./marker-mac.ts"
import { genuineMarker, type Restorers, Restoring } from "./restore.ts"

/** Brings an upload into the account's form. Its header section is awaited: the marker in it tells in which form it comes. */
export class RestoredUpload {
  readonly #rest: MarkerMaker & { readonly restorers: Restorers }
  readonly #header = new HeaderSection(MAX_HEADER_OCTETS)
  #body: { readonly restoring: Restoring; readonly stream: RecryptionStream } | null = null

  constructor(rest: MarkerMaker & { readonly restorers: Restorers }) {
    this.#rest = rest
  }

  /** A block was met that nothing of the account opens, in whatever form. */
  get lost(): boolean {
    return this.#body?.restoring.lost ?? false
  }

  /** Blocks that were restored so far. */
  get restored(): number {
    return this.#body?.stream.counts.patched ?? 0
  }

  /** Takes octets and gives out those that are decided. @throws GatewayError HEADER_TOO_LARGE */
  push(octets: Uint8Array): Uint8Array[] {
    if (this.#body !== null) return this.#body.stream.push(octets)
    const body = this.#header.push(octets)
    return body === null ? [] : [...this.#begin().push(this.#header.octets), ...this.#begin().push(body)]
  }

  /** The upload ends: gives out what was held. */
  end(): Uint8Array[] {
    const held = this.#body === null ? this.#begin().push(this.#header.octets) : []
    return [...held, ...this.#begin().end()]
  }

  #begin(): RecryptionStream {
    if (this.#body === null) {
      const tag = genuineMarker(this.#header.octets, this.#rest)?.tag ?? null
      const restoring = new Restoring(this.#rest, tag)
      this.#body = { restoring, stream: new RecryptionStream(restoring.patching) }
    }
    return this.#body.stream
  }
}
