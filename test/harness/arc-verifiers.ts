import { authenticate } from "mailauth"
import { mustRun, peer } from "./peers.ts"
import { type Zone, zoneLookup } from "./zone.ts"

/** Checks the ARC chain of a message against the keys of a zone. */
interface ArcVerifier {
  readonly name: string
  /** False on a machine that lacks it. */
  readonly there: boolean
  /** `pass`, `fail` or `none`. */
  verify(message: Uint8Array, zone: Zone): Promise<string>
}

// What the program arcverify does, but for the DNS that it asks.
const PYTHON = `
import dkim, json, os, sys
keys = json.loads(os.environ['KEYS'])
ask = lambda name, timeout=5: keys.get(name.decode().rstrip("."), "").encode() or None
# Behind a seal that says fail it looks no further, and answers nothing.
print((dkim.arc_verify(sys.stdin.buffer.read(), dnsfunc=ask)[0] or b"fail").decode())
`

/** mailauth and dkimpy, which share nothing. */
export const ARC_VERIFIERS: readonly ArcVerifier[] = [
  {
    name: "mailauth",
    there: true,
    async verify(message, zone) {
      const found = await authenticate(Buffer.from(message), { resolver: zoneLookup(zone), strict: true })
      return found.arc ? found.arc.status.result : "none"
    },
  },
  {
    name: "dkimpy",
    there: peer("/usr/bin/arcverify"),
    async verify(message, zone) {
      const keys = Object.entries(zone).map(([key, found]) => [
        key.split(" ")[0],
        typeof found === "string" ? "" : found.flat().join(""),
      ])
      const env = { KEYS: JSON.stringify(Object.fromEntries(keys)) }
      return Buffer.from(await mustRun("/usr/bin/python3", ["-c", PYTHON], { input: message, env }))
        .toString()
        .trim()
    },
  },
]
