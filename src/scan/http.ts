import type { IncomingMessage, OutgoingHttpHeaders } from "node:http"
import { request as requestHttps } from "node:https"
import { GatewayError } from "../errors.ts"
import { formatAddress } from "../message/address.ts"
import { request as requestHttp } from "../net/http.ts"
import type { Finding } from "./finding.ts"
import { Handing } from "./handing.ts"
import type { Facts, Talk } from "./scanner.ts"

/** POSTs a message, in chunks, on a connection of its own. `read` makes a finding of the JSON value in the answer, or throws. */
export function post(url: URL, facts: Facts, read: (answer: unknown) => Finding): Talk {
  const send = url.protocol === "https:" ? requestHttps : requestHttp
  // An agent of its own: a connection that is kept may be closed at the other end when the next message takes it.
  const request = send(url, { method: "POST", headers: headersOf(facts), agent: false })
  const handing = new Handing(request)
  let answered = false
  // When an answer has begun, only reading it tells how it ends: the connection may close in between.
  request.on("error", (error) => answered || handing.fail(error))
  request.on("close", () => answered || handing.closed())
  request.on("response", (response) => {
    answered = true
    answerOf(response, read).then(
      (finding) => handing.settle(finding),
      (error: unknown) => handing.fail(error),
    )
  })
  return {
    push: (octets) => handing.write(octets),
    end() {
      request.end()
      return handing.answer()
    },
    cancel: () => void request.destroy(),
  }
}

async function answerOf(response: IncomingMessage, read: (answer: unknown) => Finding): Promise<Finding> {
  // Redirects are not followed: the message goes where the administrator said, and nowhere else.
  if (response.statusCode !== 200) {
    response.destroy()
    throw new GatewayError("SCANNER_AWAY", `scan: answer has status ${response.statusCode}`)
  }
  const pieces: Uint8Array[] = []
  let sizeOctets = 0
  for await (const piece of response as AsyncIterable<Uint8Array>) {
    sizeOctets += piece.length
    if (sizeOctets > MAX_ANSWER_OCTETS)
      throw new GatewayError("SCANNER_AWAY", `scan: answer is over ${MAX_ANSWER_OCTETS} octets`)
    pieces.push(piece)
  }
  return read(parseJson(Buffer.concat(pieces)))
}

/** The fields that rspamd knows (its protocol, "HTTP headers"). */
export function headersOf(facts: Facts): OutgoingHttpHeaders {
  const { sender, recipients, remote, helo, account, id } = facts
  return {
    "Content-Type": "message/rfc822",
    From: sender === null ? "" : fieldValue(formatAddress(sender)),
    Rcpt: recipients.slice(0, MAX_RECIPIENTS_TOLD).map((address) => fieldValue(formatAddress(address))),
    IP: remote,
    Helo: fieldValue(helo),
    "Queue-Id": id,
    ...(account === null ? {} : { User: fieldValue(account) }),
  }
}

/** UTF-8 octets as node:http takes them; what would end the field is replaced. */
function fieldValue(text: string): string {
  return Buffer.from(text.replace(/[\x00-\x1f\x7f]/g, "?")).toString("latin1")
}

function parseJson(octets: Uint8Array): unknown {
  try {
    return JSON.parse(UTF_8.decode(octets))
  } catch (cause) {
    throw new GatewayError("SCANNER_AWAY", "scan: answer is no JSON", { cause })
  }
}

/** The member `name` of a JSON object; undefined where there is none. */
export function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined
}

/** rspamd tells each symbol with its options: tens of kilobytes. */
const MAX_ANSWER_OCTETS = 1_048_576
/** 32 KB of field at most; rspamd takes 80 KB in a header. */
const MAX_RECIPIENTS_TOLD = 100
const UTF_8 = new TextDecoder("utf-8", { fatal: true })
