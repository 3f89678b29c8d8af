import { writeFile } from "node:fs/promises"
import { dkimVerify } from "mailauth/lib/dkim/verify.js"
import { mustRun, peer, temporaryFolder } from "./peers.ts"
import { type Zone, zoneLookup } from "./zone.ts"

/** Checks every DKIM signature of a message against the keys of a zone. */
interface DkimVerifier {
  readonly name: string
  /** False on a machine that lacks it. */
  readonly there: boolean
  /** One word for each signature, topmost first: `pass`, or anything else. */
  verify(message: Uint8Array, zone: Zone): Promise<readonly string[]>
}

const PYTHON = `
import dkim, json, os, sys
keys, message = json.loads(os.environ['KEYS']), sys.stdin.buffer.read()
ask = lambda name, timeout=5: keys.get(name.decode().rstrip("."), "").encode() or None
count = message.split(b"\\r\\n\\r\\n")[0].lower().count(b"\\ndkim-signature:") + message.lower().startswith(b"dkim-signature:")
def one(index):
    try: return "pass" if dkim.DKIM(message, minkey=1024).verify(idx=index, dnsfunc=ask) else "fail"
    except dkim.DKIMException as error: return repr(error)
print(json.dumps([one(index) for index in range(count)]))
`

/** mailauth, dkimpy and OpenDKIM: three programs that share nothing. */
export const DKIM_VERIFIERS: readonly DkimVerifier[] = [
  {
    name: "mailauth",
    there: true,
    async verify(message, zone) {
      const { results } = await dkimVerify(Buffer.from(message), { resolver: zoneLookup(zone), strict: true })
      return results.map(({ status }) => status.result)
    },
  },
  {
    name: "dkimpy",
    there: peer("/usr/bin/dkimverify"),
    async verify(message, zone) {
      const keys = Object.entries(zone).map(([key, found]) => [key.split(" ")[0], strings(found)])
      const env = { KEYS: JSON.stringify(Object.fromEntries(keys)) }
      const said = await mustRun("/usr/bin/python3", ["-c", PYTHON], { input: message, env })
      return JSON.parse(Buffer.from(said).toString())
    },
  },
  {
    name: "OpenDKIM",
    there: peer("opendkim"),
    async verify(message, zone) {
      await using folder = await temporaryFolder()
      const keys = Object.entries(zone).map(([key, found]) => `${key.split(" ")[0]} ${strings(found)}\n`)
      await writeFile(folder.file("keys"), keys.join(""))
      await writeFile(folder.file("conf"), `Mode v\nTestPublicKeys ${folder.file("keys")}\n`)
      // It reads lines, and SMTP has no others.
      const end = message.at(-1) === LF ? "" : "\r\n"
      await writeFile(folder.file("message"), Buffer.concat([message, Buffer.from(end)]))
      const args = ["-vv", "-x", folder.file("conf"), "-t", folder.file("message")]
      const said = Buffer.from(await mustRun("/usr/sbin/opendkim", args)).toString()
      return [...said.matchAll(/[\t ]dkim=(\w+)/g)].map((found) => found[1] ?? "")
    },
  },
]

function strings(found: Zone[string]): string {
  return typeof found === "string" ? "" : found.flat().join("")
}

const LF = 10
