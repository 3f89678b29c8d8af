import type { MeshShelf } from "../../src/http/mesh-bulk.ts"
import type { MeshDoor } from "../../src/http/mesh-service.ts"
import { startPublicHttp } from "../../src/http/public.ts"
import { silentLog } from "../../src/log/log.ts"
import { HttpsPeers, type PeerRules } from "../../src/net/https-peers.ts"
import { testCertificate } from "../harness/certificate.ts"
import { LOOPBACK } from "../harness/web-hosts.ts"

export const HOST = "mail.two.example"

/** A gateway's public listener as others reach it, under a name of its own. */
export async function listening(mesh: MeshDoor | null, shelf: MeshShelf | null) {
  const certificate = await testCertificate(HOST)
  const server = await startPublicHttp({
    host: "127.0.0.1",
    port: 0,
    tls: certificate,
    keys: { domains: [], profile: () => null, meshProfile: () => null, certificate: () => null, isKnown: () => false },
    askers: { mayAsk: async () => true, guessed: async () => undefined },
    clients: { domains: [], services: { imap: [], imapClient: null, smtp: [], https: null } },
    stsPolicy: null,
    mesh,
    shelf,
    log: silentLog(),
  })
  const port = Number(new URL(server.listeningOrigin).port)
  const peers = (rules: Partial<PeerRules> = {}) =>
    new HttpsPeers({
      resolve: async () => LOOPBACK,
      isAllowed: () => true,
      authority: certificate.certificate,
      port,
      ...rules,
    })
  let connections = 0
  server.server.on("secureConnection", () => connections++)
  return { connections: () => connections, peers, port, certificate, [Symbol.asyncDispose]: () => server.close() }
}
