import { dkimVerify } from "mailauth/lib/dkim/verify.js"
import type { DkimAlgorithm } from "../../src/crypto/primitives/dkim-key.ts"
import { DnsServer } from "./dns-server.ts"
import { mustRun, peer } from "./peers.ts"
import { type Zone, zoneLookup } from "./zone.ts"

/** Checks every DKIM signature of a message against the keys of a zone. */
interface DkimVerifier {
  readonly name: string
  readonly algorithms: readonly DkimAlgorithm[]
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

const PERL = `
use Mail::DKIM::Verifier; use Net::DNS::Resolver;
my $resolver = Net::DNS::Resolver->new(nameservers => ['127.0.0.1'], port => $ARGV[0]);
Mail::DKIM::DNS::resolver($resolver);
my $verifier = Mail::DKIM::Verifier->new();
binmode STDIN; local $/; my $message = <STDIN>;
$verifier->PRINT($message); $verifier->CLOSE;
print join("\\n", map { $_->result } $verifier->signatures), "\\n";
`

/** mailauth, dkimpy (RFC 8463's author) and Perl's Mail::DKIM: three programs that share nothing. */
export const DKIM_VERIFIERS: readonly DkimVerifier[] = [
  {
    name: "mailauth",
    algorithms: ["rsa-sha256", "ed25519-sha256"],
    there: true,
    async verify(message, zone) {
      const { results } = await dkimVerify(Buffer.from(message), { resolver: zoneLookup(zone), strict: true })
      return results.map(({ status }) => status.result)
    },
  },
  {
    name: "dkimpy",
    algorithms: ["rsa-sha256", "ed25519-sha256"],
    there: peer("/usr/bin/dkimverify"),
    async verify(message, zone) {
      const keys = Object.entries(zone).map(([key, found]) => [key.split(" ")[0], strings(found)])
      const env = { KEYS: JSON.stringify(Object.fromEntries(keys)) }
      const said = await mustRun("/usr/bin/python3", ["-c", PYTHON], { input: message, env })
      return JSON.parse(Buffer.from(said).toString())
    },
  },
  {
    name: "Mail::DKIM",
    // Debian's knows RFC 8463 from version 1.2024 on.
    algorithms: ["rsa-sha256"],
    // Its own program comes with it.
    there: peer("dkimproxy-verify"),
    async verify(message, zone) {
      await using dns = await DnsServer.start(zone)
      const port = dns.address.split(":")[1] ?? ""
      const said = await mustRun("perl", ["-e", PERL, port], { input: message })
      return Buffer.from(said).toString().split("\n").slice(0, -1)
    },
  },
]

function strings(found: Zone[string]): string {
  return typeof found === "string" ? "" : found.flat().join("")
}
