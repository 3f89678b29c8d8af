import { type Address, addressKey } from "../../message/address.ts"
import { type AutocryptPeer, autocryptWish } from "../autocrypt.ts"
import type { KeySource } from "../key.ts"

/** What is remembered of those who sent Autocrypt fields. */
interface Peers {
  peer(address: string): AutocryptPeer | null
}

/** Certificates of Autocrypt fields in authenticated mail, with what their holders prefer. */
export function autocryptSource(peers: Peers): KeySource {
  return {
    name: NAME,
    trust: "harvested",
    isLocal: true,
    async lookup(address: Address) {
      const peer = peers.peer(addressKey(address))
      if (peer === null) return { candidates: [], remarks: [] }
      const place = `mail of ${peer.saidAt.toISOString().slice(0, 10)}`
      const candidate = {
        format: "openpgp",
        octets: peer.certificate,
        chain: [],
        source: NAME,
        trust: "harvested",
        place,
        wish: autocryptWish(peer),
        lineage: null,
      } as const
      return { candidates: [candidate], remarks: [] }
    },
  }
}

const NAME = "Autocrypt"
