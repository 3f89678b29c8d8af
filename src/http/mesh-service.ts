import type { FastifyInstance, FastifyReply } from "fastify"
import { MESH_PATH } from "../config/mesh.ts"
import type { Askers } from "./published.ts"

/** What a request to the Mesh service came to. */
interface MeshAnswer {
  /** Signed; whoever asked reads what it says. */
  readonly octets: Uint8Array
  readonly form: "json" | "json-b"
  /** How many of the things that were asked were guesses: whoever makes many of them is looking for something. */
  readonly guesses: number
}

/** The Mesh service as HTTP sees it. */
export interface MeshDoor {
  /** Octets of a request at most. */
  readonly maxRequestOctets: number
  /** Whether this network has not asked too often: each request costs a signature, and nobody has to say who he is. */
  mayAsk(remote: string): Promise<boolean>
  /** @returns null: it is no request */
  answer(request: Uint8Array, remote: string): Promise<MeshAnswer | null>
}

/** The Mesh service (docs/MESH.md): one request is one POST. What it says of a request it says in a signed answer, 200; other statuses are HTTP's own, and no answer. */
export function serveMesh(server: FastifyInstance, door: MeshDoor, askers: Askers): void {
  server.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser(MEDIA_TYPES, { parseAs: "buffer" }, (_request, body, done) => done(null, body))
    scope.post(MESH_PATH, { bodyLimit: door.maxRequestOctets }, async (request, reply) => {
      if (!(await askers.mayAsk(request.ip))) return refused(reply, GUESSED_SECONDS)
      if (!(await door.mayAsk(request.ip))) return refused(reply, ASKED_SECONDS)
      const answer = request.body instanceof Uint8Array ? await door.answer(request.body, request.ip) : null
      for (let guesses = answer?.guesses ?? 1; guesses > 0; guesses--) await askers.guessed(request.ip)
      return answer === null ? text(reply, 400, "no request of the Mesh") : send(reply, answer)
    })
  })
}

function refused(reply: FastifyReply, seconds: number): FastifyReply {
  return text(reply.header("retry-after", String(seconds)), 429, "too many requests")
}

function send(reply: FastifyReply, { octets, form }: MeshAnswer): FastifyReply {
  return reply
    .code(200)
    .header("content-type", form === "json" ? "application/json" : "application/dare")
    .header("cache-control", "no-store")
    .header("x-content-type-options", "nosniff")
    .send(Buffer.from(octets.buffer, octets.byteOffset, octets.length))
}

function text(reply: FastifyReply, status: number, line: string): FastifyReply {
  return reply.code(status).type("text/plain; charset=utf-8").send(`${line}\n`)
}

/** None that a web page of others could send without asking (CORS). */
const MEDIA_TYPES = ["application/json", "application/dare"]
/** Until some of what was counted is forgotten: at most an hour, and a minute. */
const GUESSED_SECONDS = 600
const ASKED_SECONDS = 60
