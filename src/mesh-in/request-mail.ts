/** PURE. The message that tells somebody that a stranger asks to be his contact. */
import type { Speaker } from "../mesh/speaker.ts"
import { shownAddress } from "../message/shown-address.ts"
import { composeNotice, type Notice } from "../mime/notice.ts"

/** A request as it is shown. Everything but `text` has been checked. */
export interface ShownRequest {
  readonly account: string
  readonly address: string
  readonly udf: string
  /** UDF of the service that brought it. */
  readonly service: string
  readonly via: Speaker["via"]
  /** Address of the contact that introduces him; empty: none. */
  readonly introducer: string
  /** As its sender wrote it, see `textFault`. */
  readonly text: string
  /** When nobody has answered until then, it is forgotten. */
  readonly until: Date
}

interface RequestMail extends Pick<Notice, "from" | "to" | "messageId" | "date"> {
  readonly request: ShownRequest
  /** Whoever handles requests for the person gets it in his place. */
  readonly isDelegated: boolean
}

/**
 * The message. What a stranger calls himself is not in it, only the address that its domain has confirmed and the profile that has signed; his text stands behind
 * bars, so that nothing in it passes for ours. Commands name him by his profile, whose letters look like no others.
 */
export function composeRequestMail({ request, isDelegated, ...notice }: RequestMail): Uint8Array {
  const from = shownAddress(request.address)
  return composeNotice({ ...notice, subject: `Contact request from\r\n ${from}`, text: textOf(request, isDelegated) })
}

function textOf(request: ShownRequest, isDelegated: boolean): readonly string[] {
  const { account, address, udf, service, via, introducer, text, until } = request
  const whose = isDelegated ? `a contact of ${account}, whose requests you handle` : "your contact"
  return [
    `${shownAddress(address)} asks to be ${whose}.`,
    "",
    `  address   ${shownAddress(address)}, as its domain confirms`,
    `  profile   ${udf}`,
    `  signed    ${SIGNED[via]}`,
    `  service   ${service}`,
    ...(introducer === ""
      ? []
      : [`  known to  ${shownAddress(introducer)}, who is a contact already and introduces him`]),
    "",
    "He writes, and nobody has checked it:",
    "",
    ...text
      .split("\n")
      .flatMap(broken)
      .map((line) => `  | ${line}`),
    "",
    "Whoever knows him otherwise can compare the profile with what he says it is. To answer, on the gateway:",
    "",
    ...["accept", "refuse", "block"].map((answer) => `  postern contact ${answer} ${account} ${udf}`),
    "",
    "When you accept, his mail comes in over the Mesh, and he is told of your profile. When you refuse, he is not told, and may ask again",
    `after a month. Without an answer the request is forgotten on ${until.toISOString().slice(0, 10)}.`,
  ]
}

/** Whoever shows a long line breaks it, and what is left of it would stand there without a bar. Behind a blank, where there is one. */
function broken(line: string): readonly string[] {
  return line === "" ? [line] : (line.match(LINE) ?? [])
}

/** 68 characters, each of a code point. */
const LINE = /.{1,68}$|.{1,68}(?<= )|.{1,68}/gsu
const SIGNED: Readonly<Record<Speaker["via"], string>> = {
  person: "with the key of the account itself",
  device: "by a device of the account's",
  gateway: "by the gateway of the account",
}
