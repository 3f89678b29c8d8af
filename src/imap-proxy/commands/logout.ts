import type { Context } from "../context.ts"
import type { Command } from "../wire/command-reader.ts"
import { latin1 } from "../wire/tokens.ts"
import { forward } from "./forward.ts"

/** What this session has done to its upstream connection, as far as a later one could notice. */
export class Traces {
  #lasting = false
  #selected = false

  /** Told of each command that is sent on. */
  sent(command: Command): void {
    if (command.name === "SELECT" || command.name === "EXAMINE") this.#selected = true
    this.#lasting ||= lasts(command)
  }

  /** CLOSE or UNSELECT succeeded. */
  unselected(): void {
    this.#selected = false
  }

  /** What was enabled stays so until the connection ends (RFC 5161 §3.1, RFC 7162 §3.1). */
  get lasting(): boolean {
    return this.#lasting
  }

  /** A mailbox may be selected. */
  get selected(): boolean {
    return this.#selected
  }
}

/**
 * RFC 9051 §6.1.3. Where the upstream connection is as it was behind its login, it is given back for the next one, and the client is
 * answered here; otherwise the upstream answers, and closes.
 */
export async function logoutCommand(context: Context, command: Command, traces: Traces): Promise<void> {
  const { client, upstream, pending, keep } = context
  if (keep === null || traces.lasting) return forward(context, command)
  await pending.below(1)
  if (traces.selected && !(await unselect(context))) return forward(context, command)
  const stream = upstream.release()
  if (stream === null) return forward(context, command)
  keep(stream)
  // One write: TLS makes a record of each.
  await client.say(`* BYE logging out\r\n${command.tag} OK LOGOUT completed`)
}

/** RFC 3691: unlike CLOSE it expunges nothing. */
async function unselect({ upstream, pending }: Context): Promise<boolean> {
  if (!upstream.has("UNSELECT")) return false
  let done = false
  pending.add({
    tag: OWN_TAG,
    name: "UNSELECT",
    intercept: (status) => {
      done = status === "OK"
    },
  })
  upstream.write(`${OWN_TAG} UNSELECT\r\n`)
  await upstream.flush()
  await pending.below(1)
  return done
}

/** RFC 7162 §3.1: from the first command that speaks of mod-sequences, the server does with every change. A name that looks so costs a login. */
function lasts({ name, segments }: Command): boolean {
  return name === "ENABLE" || segments.some(({ octets }) => octets === null || CONDSTORE.test(latin1(octets)))
}

const CONDSTORE = /MODSEQ|CONDSTORE|CHANGEDSINCE|QRESYNC/i
/** No command of the client is in flight, so it cannot be taken for one of the client's. */
const OWN_TAG = "postern"
