import { readFile } from "node:fs/promises"
import { createServer } from "node:https"
import { join } from "node:path"
import { buffer } from "node:stream/consumers"
import { HttpsPeers, wholeAnswer } from "../../../src/net/https-peers.ts"
import { LOOPBACK } from "../../harness/web-hosts.ts"
import { type MeshWorld, TWO } from "./mesh-world.ts"

/** What becomes of an answer of the second gateway's service to a request. */
export type Lie = (truth: Uint8Array, request: Uint8Array) => Uint8Array | Promise<Uint8Array>

export interface Between {
  /** Before a request is passed on; nothing answers where it throws. */
  readonly asked?: () => Promise<void>
  readonly answered?: Lie
}

/** Until disposed of, somebody with the second gateway's certificate answers in its place: passes on what is asked and answered, unless told otherwise. */
export async function between(
  world: MeshWorld,
  { asked = async () => undefined, answered = (truth) => truth }: Between,
): Promise<Disposable> {
  const { instance, authority } = world.two
  const peers = await askingAt(world, TWO.inner, authority)
  const files = ["server.pem", "server.key"].map((file) => readFile(join(instance.folder, "tls", file)))
  const [cert, key] = await Promise.all(files)
  const server = createServer({ cert, key }, (request, response) => {
    const pass = async (): Promise<void> => {
      const octets = await buffer(request)
      const url = new URL(request.url ?? "/", `https://${request.headers.host}`)
      const isPosted = request.method === "POST"
      if (isPosted) await asked()
      const body = { type: request.headers["content-type"] ?? "", octets }
      const answer = await peers.ask(isPosted ? { url, body } : { url }, AbortSignal.timeout(60_000))
      const truth = await wholeAnswer(answer, MAX_ANSWER_OCTETS)
      const said = isPosted ? await answered(truth, octets) : truth
      response.writeHead(answer.status, { "content-type": answer.headers["content-type"] ?? "" }).end(said)
    }
    pass().catch(() => request.destroy())
  })
  world.impersonate(server)
  return {
    [Symbol.dispose]() {
      world.impersonate(null)
      peers[Symbol.dispose]()
    },
  }
}

/** Asks a gateway at this address, as another would. */
export async function askingAt(world: MeshWorld, address: string, authority: string): Promise<HttpsPeers> {
  return new HttpsPeers({
    resolve: async () => LOOPBACK,
    isAllowed: () => true,
    authority: await readFile(authority, "utf8"),
    port: await world.door(address, 443),
  })
}

const MAX_ANSWER_OCTETS = 10_000_000
