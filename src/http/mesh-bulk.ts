import { Readable } from "node:stream"
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify"
import { MESH_PATH } from "../config/mesh.ts"
import type { Askers } from "./published.ts"

/** Mail that is published, as HTTP sees it. */
export interface MeshShelf {
  /** @returns null: there is nothing of this name, or no longer */
  find(name: string): Promise<{
    readonly sizeOctets: number
    content(from: number, to: number): AsyncIterable<Uint8Array>
  } | null>
  /** Its last octet has gone out. */
  pulled(name: string): Promise<void>
}

/** Published mail (docs/MESH.md, "Bulk"), whole or from some octet on. It is ciphertext; who knows its name may have it. */
export function serveMeshBulk(server: FastifyInstance, shelf: MeshShelf, askers: Askers): void {
  server.get<{ Params: { name: string } }>(`${MESH_PATH}bulk/:name`, async (request, reply) => {
    if (!(await askers.mayAsk(request.ip))) return text(reply, 429, "too many requests for what is not here")
    const { name } = request.params
    const file = await shelf.find(name)
    if (file === null) {
      await askers.guessed(request.ip)
      return text(reply, 404, "not found")
    }
    const range = rangeOf(request.headers.range, file.sizeOctets)
    if (range === "unsatisfiable")
      return text(reply.header("content-range", `bytes */${file.sizeOctets}`), 416, "not so long")
    const { from, to } = range ?? { from: 0, to: file.sizeOctets }
    if (range !== null) reply.header("content-range", `bytes ${from}-${to - 1}/${file.sizeOctets}`)
    if (request.method === "GET") onSent(request, reply, to === file.sizeOctets, () => shelf.pulled(name))
    return reply
      .code(range === null ? 200 : 206)
      .header("content-type", "application/dare")
      .header("content-length", to - from)
      .header("accept-ranges", "bytes")
      .header("cache-control", "no-store")
      .header("x-content-type-options", "nosniff")
      .send(Readable.from(request.method === "HEAD" ? [] : file.content(from, to), { objectMode: false }))
  })
}

/** Somebody who takes nothing for a while gives the connection back. */
function onSent(request: FastifyRequest, reply: FastifyReply, isEnd: boolean, pulled: () => Promise<void>): void {
  request.raw.socket.setTimeout(IDLE_MS)
  reply.raw.once("close", () => request.raw.socket.setTimeout(0))
  // "finish" is not told of an answer that was cut off.
  if (isEnd) reply.raw.once("finish", () => void pulled().catch(() => undefined))
}

/**
 * One range (RFC 9110 §14.2), `bytes=a-` or `bytes=a-b`; what is of another form is as if it were not there.
 * @returns octets from `from` up to `to`; null: all
 */
function rangeOf(field: string | undefined, sizeOctets: number) {
  const [, first, last] = /^bytes=(\d{1,15})-(\d{0,15})$/.exec(field ?? "") ?? []
  if (first === undefined) return null
  const from = Number(first)
  const to = last === undefined || last === "" ? sizeOctets : Math.min(Number(last) + 1, sizeOctets)
  if (from >= sizeOctets) return "unsatisfiable"
  return to <= from ? null : { from, to }
}

function text(reply: FastifyReply, status: number, line: string): FastifyReply {
  return reply.code(status).type("text/plain; charset=utf-8").send(`${line}\n`)
}

const IDLE_MS = 60_000
