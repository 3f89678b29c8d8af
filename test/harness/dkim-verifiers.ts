import { writeFile } from "node:fs/promises"
import { dkimVerify } from "mailauth/lib/dkim/verify.js"
import { mustRun, peer, temporaryFolder } from "./peers.ts"
import { type Zone, zoneLookup } from "./zone.ts"

/** Checks every DKIM signature of a message against the keys of a zone. */
interface DkimVerifier {
  readonly name: string
  /** False on a machine that lacks it. */
  readonly there: boolean
  /** Of each message one word for each signature, topmost first: `pass`, or anything else. */
  verify(messages: readonly Uint8Array[], zone: Zone): Promise<readonly (readonly string[])[]>
}

const PYTHON = `
import dkim, json, os, sys
keys = json.loads(os.environ['KEYS'])
ask = lambda name, timeout=5: keys.get(name.decode().rstrip("."), "").encode() or None
def one(message, index):
    try: return "pass" if dkim.DKIM(message, minkey=1024).verify(idx=index, dnsfunc=ask) else "fail"
    except dkim.DKIMException as error: return repr(error)
def all(message):
    count = message.split(b"\\r\\n\\r\\n")[0].lower().count(b"\\ndkim-signature:") + message.lower().startswith(b"dkim-signature:")
    return [one(message, index) for index in range(count)]
print(json.dumps([all(sys.stdin.buffer.read(int(octets))) for octets in sys.argv[1:]]))
`

/** mailauth, dkimpy and OpenDKIM: three programs that share nothing. */
export const DKIM_VERIFIERS: readonly DkimVerifier[] = [
  {
    name: "mailauth",
    there: true,
    async verify(messages, zone) {
      const all = messages.map(async (message) => {
        const { results } = await dkimVerify(Buffer.from(message), { resolver: zoneLookup(zone), strict: true })
        return results.map(({ status }) => status.result)
      })
      return Promise.all(all)
    },
  },
  {
    name: "dkimpy",
    there: peer("/usr/bin/dkimverify"),
    async verify(messages, zone) {
      const keys = Object.entries(zone).map(([key, found]) => [key.split(" ")[0], strings(found)])
      const env = { KEYS: JSON.stringify(Object.fromEntries(keys)) }
      const lengths = messages.map(({ length }) => String(length))
      const said = await mustRun("/usr/bin/python3", ["-c", PYTHON, ...lengths], {
        input: Buffer.concat(messages),
        env,
      })
      return JSON.parse(Buffer.from(said).toString())
    },
  },
  {
    name: "OpenDKIM",
    there: peer("opendkim"),
    async verify(messages, zone) {
      await using folder = await temporaryFolder()
      const keys = Object.entries(zone).map(([key, found]) => `${key.split(" ")[0]} ${strings(found)}\n`)
      await writeFile(folder.file("keys"), keys.join(""))
      await writeFile(folder.file("conf"), `Mode v\nTestPublicKeys ${folder.file("keys")}\n`)
      const one = async (message: Uint8Array, index: number) => {
        const file = folder.file(`message ${index}`)
        // It reads lines, and SMTP has no others.
        const end = message.at(-1) === LF ? "" : "\r\n"
        await writeFile(file, Buffer.concat([message, Buffer.from(end)]))
        const said = await mustRun("/usr/sbin/opendkim", ["-vv", "-x", folder.file("conf"), "-t", file])
        return [
          ...Buffer.from(said)
            .toString()
            .matchAll(/[\t ]dkim=(\w+)/g),
        ].map((found) => found[1] ?? "")
      }
      return await Promise.all(messages.map(one))
    },
  },
]

function strings(found: Zone[string]): string {
  return typeof found === "string" ? "" : found.flat().join("")
}

const LF = 10
