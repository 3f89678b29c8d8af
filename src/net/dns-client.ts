import { createSocket } from "node:dgram"
import { connect, isIP, type Socket } from "node:net"
import dnsPacket, { type DecodedPacket, type Answer as KnownAnswer, type RecordType as KnownType } from "dns-packet"
import { randomOctets } from "../crypto/primitives/random.ts"

/** A record as it is read. */
export type AnyAnswer = KnownAnswer | OctetsAnswer

/** A type that can be asked for. Of the last two, which the library does not know, the RDATA comes as octets (RFC 3597). */
export type RecordType = KnownType | OctetsAnswer["type"]

/** A record of OPENPGPKEY (RFC 7929) or SMIMEA (RFC 8162). */
export interface OctetsAnswer {
  readonly type: keyof typeof OTHER_TYPES
  readonly name: string
  readonly data: Uint8Array
}

/** A question to DNS servers, asked so that they say what they validated; node:dns shows no AD bit. Throws when the signal aborts. */
export type Ask = (name: string, type: RecordType, signal?: AbortSignal) => Promise<DnsAnswer>

/** What a server answered: NXDOMAIN and NODATA are answers without records. */
export interface DnsAnswer {
  /** AD (RFC 4035 §3.2.3): the server has validated all of it, also that there is nothing. */
  readonly authentic: boolean
  readonly answers: readonly AnyAnswer[]
}

/**
 * Asks these servers ("address" or "address:port"), one after the other, over UDP, and over TCP what does not fit (RFC 7766).
 * The question throws when no server answers, and when what is answered is an error (SERVFAIL is how a validating server says "bogus").
 */
export function dnsClient(servers: readonly string[], timeoutMs = TIMEOUT_MS): Ask {
  const places = servers.map(placeOf)
  return async (name, type, signal = new AbortController().signal) => {
    if (!isName(name)) return { authentic: false, answers: [] }
    let last: unknown = new Error("dns: there is no server to ask")
    for (const place of [...places, ...places]) {
      try {
        return await askOne(place, name, type, { timeoutMs, signal })
      } catch (error) {
        last = error
      }
      signal.throwIfAborted()
    }
    throw last
  }
}

/** Whether these servers validate: the root has been signed since 2010, so that its SOA comes with AD from whoever does. Throws as `ask` does. */
export async function validates(ask: Ask): Promise<boolean> {
  const { authentic, answers } = await ask(".", "SOA")
  return authentic && answers.length > 0
}

interface Place {
  readonly host: string
  readonly port: number
}

/** How long one try waits at most. */
interface Patience {
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

async function askOne(place: Place, name: string, type: RecordType, patience: Patience): Promise<DnsAnswer> {
  const id = Buffer.from(randomOctets(2)).readUInt16BE()
  const query = queryOf(id, name, type)
  const overUdp = await udp(place, query, (reply) => isAnswerTo(reply, id, name, type), patience)
  const reply = overUdp.flag_tc ? await tcp(place, query, patience) : overUdp
  if (!isAnswerTo(reply, id, name, type)) throw new Error(`dns: ${place.host} answers another question`)
  if (reply.rcode !== "NOERROR" && reply.rcode !== "NXDOMAIN")
    throw new Error(`dns: ${place.host} says ${reply.rcode} about ${name} ${type}`)
  return { authentic: reply.flag_ad, answers: (reply.answers ?? []).map(named) }
}

function queryOf(id: number, name: string, type: RecordType): Buffer {
  return dnsPacket.encode({
    type: "query",
    id,
    // RFC 6840 §5.7: AD in a query asks for it in the answer.
    flags: dnsPacket.RECURSION_DESIRED | dnsPacket.AUTHENTIC_DATA,
    questions: [{ name, type: libraryType(type), class: "IN" }],
    additionals: [
      {
        type: "OPT",
        name: ".",
        udpPayloadSize: UDP_OCTETS,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: 0,
        flag_do: false,
        options: [],
      },
    ],
  })
}

/** A socket of its own for each question: another port each time (RFC 5452), and only that server is heard. */
async function udp(
  { host, port }: Place,
  query: Buffer,
  isOurs: (reply: Reply) => boolean,
  { timeoutMs, signal }: Patience,
): Promise<Reply> {
  signal.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<Reply>()
  const socket = createSocket(isIP(host) === 6 ? "udp6" : "udp4")
  const timer = setTimeout(() => reject(new Error(`dns: ${host} does not answer`)), timeoutMs)
  const abort = (): void => reject(signal.reason)
  signal.addEventListener("abort", abort)
  socket.on("error", reject)
  socket.on("message", (octets) => {
    const reply = decoded(octets)
    // What is none of ours is not the end of waiting: whoever guesses must not spoil the answer.
    if (reply !== null && isOurs(reply)) resolve(reply)
  })
  socket.connect(port, host, (error?: Error) => {
    if (error) reject(error)
    else socket.send(query)
  })
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    signal.removeEventListener("abort", abort)
    socket.close()
  }
}

async function tcp({ host, port }: Place, query: Buffer, { timeoutMs, signal }: Patience): Promise<Reply> {
  const socket = connect({ host, port, signal })
  const timer = setTimeout(() => socket.destroy(new Error(`dns: ${host} does not answer`)), timeoutMs)
  try {
    const length = Buffer.alloc(2)
    length.writeUInt16BE(query.length)
    socket.write(Buffer.concat([length, query]))
    const reply = decoded(await oneMessage(socket))
    if (reply === null) throw new Error(`dns: ${host} answers what cannot be read`)
    return reply
  } finally {
    clearTimeout(timer)
    socket.destroy()
  }
}

/** RFC 1035 §4.2.2: two octets of length, then the message. */
async function oneMessage(socket: Socket): Promise<Buffer> {
  let held = Buffer.alloc(0)
  for await (const octets of socket) {
    held = Buffer.concat([held, octets])
    if (held.length >= 2 && held.length >= 2 + held.readUInt16BE()) return held.subarray(2, 2 + held.readUInt16BE())
  }
  throw new Error("dns: connection closed before the answer")
}

/** `@types/dns-packet` leaves out what decoding adds. */
type Reply = DecodedPacket & { readonly rcode?: string }

function decoded(octets: Buffer): Reply | null {
  try {
    return dnsPacket.decode(octets)
  } catch (error) {
    if (error instanceof Error) return null
    throw error
  }
}

function isAnswerTo(reply: Reply, id: number, name: string, type: RecordType): boolean {
  const [question, second] = reply.questions ?? []
  return (
    reply.type === "response" &&
    reply.id === id &&
    second === undefined &&
    question?.type === libraryType(type) &&
    question.name.toLowerCase() === name.toLowerCase()
  )
}

function libraryType(type: RecordType): KnownType {
  return (type in OTHER_TYPES ? OTHER_TYPES[type as OctetsAnswer["type"]] : type) as KnownType
}

/** The library calls types that it does not know by their number and gives their RDATA as it is; `@types/dns-packet` does not say so. */
function named(answer: AnyAnswer): AnyAnswer {
  const type = OTHER_NAMES.get(answer.type)
  return type === undefined ? answer : { type, name: answer.name, data: (answer as OctetsAnswer).data }
}

/** What cannot be a name has no records (RFC 1035 §2.3.4). */
function isName(name: string): boolean {
  return name === "." || (name.length <= 253 && name.split(".").every((label) => /^[\x21-\x7e]{1,63}$/.test(label)))
}

function placeOf(server: string): Place {
  const [, six, four, port] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(server) ?? []
  return { host: six ?? four ?? server, port: port === undefined ? 53 : Number(port) }
}

const OTHER_TYPES = { SMIMEA: "UNKNOWN_53", OPENPGPKEY: "UNKNOWN_61" } as const
const OTHER_NAMES: ReadonlyMap<string, OctetsAnswer["type"]> = new Map([
  [OTHER_TYPES.SMIMEA, "SMIMEA"],
  [OTHER_TYPES.OPENPGPKEY, "OPENPGPKEY"],
])

/** Of one try; each server is tried twice. A validating resolver may need some seconds for a name that it never heard of. */
const TIMEOUT_MS = 5_000
/** What passes without fragments (DNS Flag Day 2020). */
const UDP_OCTETS = 1_232
