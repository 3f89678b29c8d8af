import { once } from "node:events"
import { connect, type TLSSocket } from "node:tls"
import { expect, test } from "vitest"
import { reloadPublicTls, startPublicHttp } from "../../src/http/public.ts"
import { silentLog } from "../../src/log/log.ts"
import { testCertificate } from "../harness/certificate.ts"
import { nobodysKeys } from "./published.ts"

test("the public side shows a certificate for each name, and a renewed one at once", async () => {
  const [own, named, renewed] = await Promise.all([testCertificate(), testCertificate(), testCertificate()])
  const server = await startPublicHttp({
    host: "127.0.0.1",
    port: 0,
    tls: { ...own, names: new Map([["mail.example.test", named]]) },
    ...nobodysKeys([]),
    clients: { domains: [], services: { imap: [], imapClient: null, smtp: [], https: null } },
    stsPolicy: null,
    mesh: null,
    shelf: null,
    log: silentLog(),
  })
  const port = Number(new URL(server.listeningOrigin).port)
  expect([await shown(port, "other.example.test"), await shown(port, "mail.example.test")]).toEqual([
    pem(own),
    pem(named),
  ])
  reloadPublicTls(server, { ...renewed, names: new Map([["mail.example.test", own]]) })
  expect([await shown(port, "other.example.test"), await shown(port, "mail.example.test")]).toEqual([
    pem(renewed),
    pem(own),
  ])
  await server.close()
})

const pem = ({ certificate }: { readonly certificate: string }): string => certificate.trim()

async function shown(port: number, servername: string): Promise<string | undefined> {
  const socket: TLSSocket = connect({ port, host: "127.0.0.1", servername, rejectUnauthorized: false })
  await once(socket, "secureConnect")
  const certificate = socket.getPeerX509Certificate()?.toString().trim()
  socket.destroy()
  return certificate
}
