import type { KeySource } from "../key.ts"
import { type Keyserver, keyserver } from "./keyserver.ts"

/**
 * A keyserver that speaks HKP over TLS (draft-ietf-openpgp-hkp, the requests of version 1, which all answer): anybody may have put there what it
 * has.
 */
export function hkps(server: Keyserver): KeySource {
  return keyserver("hkps", server, (address) => {
    const search = encodeURIComponent(address.toWellFormed())
    return `/pks/lookup?op=get&options=mr&exact=on&search=${search}`
  })
}
