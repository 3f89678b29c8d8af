import { equalConstantTime } from "../crypto/primitives/hash.ts"
import { HeaderSection } from "../mime/classify-header.ts"
import { MAX_HEADER_OCTETS } from "../mime/header.ts"
import { type Marker, readMarker } from "./marker-field.ts"
import { MarkerMac, type MarkerMaker } from "./marker-mac.ts"

/** Checks the marker of one whole stored message, fed with its octets, those of the patch windows as zeros. */
export class MarkerCheck {
  readonly #maker: MarkerMaker
  #state:
    | { readonly kind: "header"; readonly section: HeaderSection }
    | { readonly kind: "body"; readonly marker: Marker; readonly mac: MarkerMac }
    | { readonly kind: "nobody" } = { kind: "header", section: new HeaderSection(Number.POSITIVE_INFINITY) }

  constructor(maker: MarkerMaker) {
    this.#maker = maker
  }

  push(stable: Uint8Array): void {
    if (this.#state.kind === "body") this.#state.mac.update(stable)
    else if (this.#state.kind === "header") this.#header(this.#state.section, stable)
  }

  /** @returns `none` when the message has no marker of ours */
  end(): "holds" | "altered" | "none" {
    if (this.#state.kind !== "body") return "none"
    const { marker, mac } = this.#state
    const computed = mac.finish(marker.tag)
    const same = marker.coveredOctets === computed.coveredOctets && equalConstantTime(marker.mac, computed.mac)
    return same ? "holds" : "altered"
  }

  #header(section: HeaderSection, stable: Uint8Array): void {
    // Not a reason to end the reading of a message.
    if (section.size > MAX_HEADER_OCTETS) {
      this.#state = { kind: "nobody" }
      return
    }
    const body = section.push(stable)
    if (body === null) return
    const marker = readMarker(section.octets)
    if (marker === null) {
      this.#state = { kind: "nobody" }
      return
    }
    const mac = new MarkerMac(marker.version, marker.by, this.#maker, marker.more ? marker.coveredOctets : null)
    mac.update(body)
    this.#state = { kind: "body", marker, mac }
  }
}
