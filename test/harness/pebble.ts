import { spawn } from "node:child_process"
import { once } from "node:events"
import { writeFile } from "node:fs/promises"
import { request } from "node:https"
import { testCertificate } from "./certificate.ts"
import { eventually } from "./instance.ts"
import { peerPath, temporaryFolder } from "./peers.ts"
import { freePorts } from "./ports.ts"

export interface PebbleOptions {
  /** Where it looks for challenges, on whatever address a name has. */
  readonly httpPort: number
  /** "address:port" of the DNS server that knows the names. */
  readonly dns: string
  /** Of 100 nonces, so many are refused. */
  readonly rejectedNonces?: number
  /** How long its certificates are good, seconds. */
  readonly validitySeconds?: number
}

/** Let's Encrypt's CA for tests (Debian's pebble), on loopback; its certificates are worth nothing anywhere else. */
export interface Pebble extends AsyncDisposable {
  /** URL of the directory. */
  readonly directory: string
  /** PEM file of the authority that vouches for the CA's own server. */
  readonly caFile: string
  start(): Promise<void>
  /** PEM of the authority that issues. Another one after each start. */
  root(): Promise<string>
}

/** Everything is made ready, and nothing runs until `start`. */
export async function makePebble(options: PebbleOptions): Promise<Pebble> {
  const folder = await temporaryFolder()
  const [port = 0, management = 0] = await freePorts(2)
  const own = await testCertificate()
  await writeFile(folder.file("own.pem"), own.certificate)
  await writeFile(folder.file("own.key"), own.key)
  const pebble = {
    listenAddress: `127.0.0.1:${port}`,
    managementListenAddress: `127.0.0.1:${management}`,
    certificate: folder.file("own.pem"),
    privateKey: folder.file("own.key"),
    httpPort: options.httpPort,
    tlsPort: 1,
    ocspResponderURL: "",
    externalAccountBindingRequired: false,
    ...(options.validitySeconds === undefined ? {} : { certificateValidityPeriod: options.validitySeconds }),
  }
  await writeFile(folder.file("pebble.json"), JSON.stringify({ pebble }))
  const running: { stop: () => Promise<unknown> } = { stop: async () => undefined }
  const ask = (path: string) => get(`https://127.0.0.1:${management}${path}`, own.certificate)
  return {
    directory: `https://127.0.0.1:${port}/dir`,
    caFile: folder.file("own.pem"),
    async start() {
      const args = ["-config", folder.file("pebble.json"), "-strict", "-dnsserver", options.dns]
      const env = {
        ...process.env,
        PATH: peerPath(),
        PEBBLE_VA_NOSLEEP: "1",
        PEBBLE_WFE_NONCEREJECT: String(options.rejectedNonces ?? 0),
        PEBBLE_AUTHZREUSE: "0",
      }
      const child = spawn("pebble", args, { env, stdio: "ignore" })
      const ended = once(child, "exit")
      running.stop = async () => {
        child.kill("SIGKILL")
        await ended
      }
      await eventually("pebble listens", () => ask("/roots/0").catch(() => null))
      await eventually("pebble answers", () => get(`https://127.0.0.1:${port}/dir`, own.certificate).catch(() => null))
    },
    root: () => ask("/roots/0"),
    async [Symbol.asyncDispose]() {
      await running.stop()
      await folder[Symbol.asyncDispose]()
    },
  }
}

async function get(url: string, ca: string): Promise<string> {
  const asked = request(url, { ca, agent: false }).end()
  const [response] = await once(asked, "response")
  let text = ""
  for await (const octets of response) text += octets
  return text
}
