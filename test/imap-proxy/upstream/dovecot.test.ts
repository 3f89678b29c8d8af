import { once } from "node:events"
import { writeFileSync } from "node:fs"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Upstream } from "../../../src/imap-proxy/ports.ts"
import { masterLogins, storedLogins } from "../../../src/imap-proxy/upstream/logins.ts"
import type { UpstreamEndpoint, UpstreamOptions } from "../../../src/imap-proxy/upstream.ts"
import { UpstreamLink } from "../../../src/imap-proxy/upstream-link.ts"
import { silentLog } from "../../../src/log/log.ts"
import type { OAuthCredential } from "../../../src/store/upstream-credential.ts"
import { type TestCertificate, testCertificate } from "../../harness/certificate.ts"
import { openCredentials, type TestCredentials } from "../../harness/credentials.ts"
import { Dovecot, dovecotPossible, MASTER } from "../../harness/dovecot.ts"
import { eventually } from "../../harness/instance.ts"
import { type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import { freePorts } from "../../harness/ports.ts"
import { TokenEndpoint } from "../../harness/token-endpoint.ts"
import { upstreamAt } from "../../harness/upstream.ts"

const ALICE = "alice@example.test"
const CLIENT = { address: "192.0.2.7", port: 40_001, localAddress: "198.51.100.1", localPort: 993 }

describe.skipIf(!dovecotPossible)("Dovecot", () => {
  let folder: TemporaryFolder
  let tls: TestCertificate
  let dovecot: Dovecot
  let endpoint: TokenEndpoint
  let store: TestCredentials
  let ports: readonly number[]

  beforeAll(async () => {
    folder = await temporaryFolder()
    tls = await testCertificate()
    endpoint = await TokenEndpoint.start()
    store = await openCredentials(ALICE)
    ports = await freePorts(3)
    writeFileSync(folder.file("users"), "alice.store:{PLAIN}her own\n")
    writeFileSync(
      folder.file("oauth"),
      `introspection_url = ${endpoint.introspectionUrl}
introspection_mode = post
username_attribute = username
active_attribute = active
active_value = true
`,
    )
    dovecot = await Dovecot.start(folder.file("dovecot"), folder.file("mail"), { tls, more: settings() })
  })

  afterAll(async () => {
    await dovecot?.[Symbol.asyncDispose]()
    await store[Symbol.asyncDispose]()
    await endpoint[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  function settings(): string {
    return `auth_mechanisms = plain login xoauth2 oauthbearer
login_trusted_networks = 127.0.0.0/8
haproxy_trusted_networks = 127.0.0.0/8
passdb {
  driver = passwd-file
  args = ${folder.file("users")}
}
passdb {
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = ${folder.file("oauth")}
}
service imap-login {
  inet_listener imaps {
    port = ${ports[0]}
    ssl = yes
  }
  inet_listener imap_haproxy {
    port = ${ports[1]}
    haproxy = yes
  }
  inet_listener imaps_haproxy {
    port = ${ports[2]}
    haproxy = yes
    ssl = yes
  }
}
`
  }

  const at = (security: "plain" | "starttls" | "tls", port = dovecot.imapPort): UpstreamEndpoint => ({
    kind: "tcp",
    host: "localhost",
    port,
    security,
  })

  function upstream(endpointOf: UpstreamEndpoint, more: Partial<UpstreamOptions> = {}): Upstream {
    const logins = storedLogins({ credentials: store.credentials, now: () => new Date(), log: silentLog() })
    return upstreamAt(endpointOf, { logins, authority: tls.certificate, ...more })
  }

  /** Logs in, and leaves. @returns the capabilities */
  async function logIn(over: Upstream): Promise<readonly string[]> {
    const stream = await over.connect(ALICE, CLIENT, AbortSignal.timeout(20_000))
    const link = new UpstreamLink(stream)
    await link.open()
    stream.destroy()
    return link.capabilities
  }

  const outcome = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
  /** The line that Dovecot logs for a login, which it writes in its own time. */
  const logged = (what: RegExp): Promise<string> =>
    eventually(`log says ${what}`, () => dovecot.log.split("\n").findLast((line) => what.test(line)))

  test.each(["plain", "starttls", "tls"] as const)("a stored password, %s", async (security) => {
    const where = security === "tls" ? at("tls", ports[0]) : at(security)
    store.credentials.set(ALICE, { kind: "password", user: "alice.store", password: "her own" }, new Date())
    expect(await logIn(upstream(where))).toContain("CONDSTORE")
    expect(await logged(/Login: user=<alice\.store>/)).toContain("method=PLAIN")
    store.credentials.set(ALICE, { kind: "password", user: "alice.store", password: "not hers" }, new Date())
    const error = await outcome(logIn(upstream(where)))
    expect(error).toMatchObject({ code: "UPSTREAM_REFUSED", message: /\[AUTHENTICATIONFAILED\]/ })
    store.credentials.remove(ALICE)
    expect(await outcome(logIn(upstream(where)))).toMatchObject({ code: "UPSTREAM_REFUSED", message: /no credential/ })
  })

  test("a certificate that nobody vouches for, or of another name", async () => {
    store.credentials.set(ALICE, { kind: "password", user: "alice.store", password: "her own" }, new Date())
    const lines = dovecot.log.length
    for (const security of ["starttls", "tls"] as const) {
      const where = security === "tls" ? at("tls", ports[0]) : at(security)
      const untrusted = outcome(logIn(upstream(where, { authority: null })))
      expect(await untrusted).toMatchObject({ code: "UPSTREAM_UNAVAILABLE", message: /certificate/ })
      // Another way to write 127.0.0.1, which the certificate does not name.
      const named = { ...where, host: "127.1" } as UpstreamEndpoint
      expect(await outcome(logIn(upstream(named)))).toMatchObject({ message: /does not match certificate's altnames/ })
    }
    expect(dovecot.log.slice(lines)).not.toContain("Login:")
  })

  test("the master as another identity (SASL PLAIN), and as part of the name", async () => {
    for (const form of ["authzid", "separator"] as const) {
      await logIn(upstream(at("plain"), { logins: masterLogins({ ...MASTER, form }) }))
      await logged(new RegExp(`Login: user=<${ALICE}>`))
    }
  })

  test.each([
    ["XOAUTH2", ""],
    ["OAUTHBEARER", "xoauth2"],
  ])(
    "an access token by %s, again when the server has ended it, and not without the owner",
    async (mechanism, without) => {
      endpoint.user = "alice.cloud"
      endpoint.rotates = true
      const credential: OAuthCredential = {
        kind: "oauth",
        user: "alice.cloud",
        tokenEndpoint: endpoint.url,
        clientId: "client",
        clientSecret: null,
        scope: null,
        refreshToken: endpoint.refreshToken,
        answer: null,
      }
      let aheadMs = 0
      const now = () => new Date(Date.now() + aheadMs)
      store.credentials.set(ALICE, credential, now())
      const logins = storedLogins({ credentials: store.credentials, now, log: silentLog() })
      await using proxied = await withoutMechanism(dovecot.imapPort, without)
      const over = upstream(at("plain", proxied.port), { logins })
      const before = endpoint.requests.length
      expect(await logIn(over)).toContain("CONDSTORE")
      expect(await logIn(over)).toContain("CONDSTORE")
      expect(endpoint.requests.length - before).toBe(1)
      expect(await logged(/Login: user=<alice\.cloud>/)).toContain(`method=${mechanism}`)
      endpoint.revokeAccess()
      aheadMs = 60_000
      expect(await logIn(over)).toContain("CONDSTORE")
      expect(endpoint.requests.length - before).toBe(2)
      endpoint.revokeAccess()
      endpoint.refreshToken = "taken back"
      aheadMs = 120_000
      expect(await outcome(logIn(over))).toMatchObject({ code: "UPSTREAM_CONSENT" })
    },
  )

  test("learns the client's address by ID from those it trusts", async () => {
    const logins = masterLogins({ ...MASTER, form: "separator" })
    await logIn(upstream(at("plain"), { logins, clientAddress: "id" }))
    expect(await logged(/Login: .*rip=192\.0\.2\.7/)).toContain("lip=198.51.100.1")
    await logIn(upstream(at("starttls"), { logins, clientAddress: "id" }))
    await logged(/Login: .*rip=192\.0\.2\.7.*TLS/)
  })

  test.each(["plain", "starttls", "tls"] as const)("learns it by the PROXY protocol, %s", async (security) => {
    const logins = masterLogins({ ...MASTER, form: "separator" })
    const where = at(security, security === "tls" ? ports[2] : ports[1])
    const before = dovecot.log.length
    const over = upstream(where, { logins, clientAddress: "proxy" })
    await logIn(over)
    await eventually("rip is the client's", () => /Login: .*rip=192\.0\.2\.7/.test(dovecot.log.slice(before)))
    const own = await over.connect(ALICE, null, AbortSignal.timeout(20_000))
    own.destroy()
  })
})

/** The same server with one mechanism less in its capabilities. */
async function withoutMechanism(
  target: number,
  mechanism: string,
): Promise<{ readonly port: number } & AsyncDisposable> {
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(target, "127.0.0.1")
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on("error", () => undefined)
      socket.on("close", () => [client, upstream].map((other) => other.destroy()))
    }
    client.pipe(upstream)
    const hidden = mechanism === "" ? "" : ` AUTH=${mechanism.toUpperCase()}`
    upstream.on("data", (octets) => client.write(octets.toString("latin1").replaceAll(hidden, ""), "latin1"))
  }).listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}
