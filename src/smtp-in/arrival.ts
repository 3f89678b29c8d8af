import { GatewayError } from "../errors.ts"
import type { Counters } from "../log/counters.ts"
import type { Log } from "../log/log.ts"
import type { ChainStatus } from "../mime/arc-set.ts"
import type { ContentVerdict } from "./content.ts"
import type { ArrivalFacts, Authentication, Authenticator, Verdict } from "./ports.ts"

/** A message that is being authenticated while it is stored: what that comes to is known when its last octet has passed, and then refuses it. */
export class Arrival {
  /** null: not asked for, or not known yet. */
  authentication: Authentication | null = null
  readonly #authenticator: Authenticator | null
  readonly #facts: ArrivalFacts
  readonly #content: ContentVerdict
  readonly #counters: Pick<Counters, "add">
  /** Made when there is something to say: most messages of some servers say nothing here. */
  readonly #log: () => Log

  constructor(
    authenticator: Authenticator | null,
    facts: ArrivalFacts,
    content: ContentVerdict,
    { counters, log }: { readonly counters: Pick<Counters, "add">; readonly log: () => Log },
  ) {
    this.#authenticator = authenticator
    this.#facts = facts
    this.#content = content
    this.#counters = counters
    this.#log = log
  }

  /**
   * Passes the message on.
   * Throws GatewayError AUTHENTICATION_FAILED, AUTHENTICATION_UNDECIDED, AUTHOR_AMBIGUOUS behind the last octet, which is before 250.
   */
  watch(content: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    return this.#authenticator === null ? content : this.#watched(content, this.#authenticator)
  }

  async *#watched(content: AsyncIterable<Uint8Array>, authenticator: Authenticator): AsyncGenerator<Uint8Array> {
    const examination = await authenticator.begin(this.#facts)
    if (examination === null) {
      yield* content
      return
    }
    try {
      for await (const octets of content) {
        await examination.push(octets)
        yield octets
      }
      this.#take(await examination.end(), authenticator.enforced)
    } finally {
      examination.cancel()
    }
  }

  #take({ results, author, decision, field }: Verdict, enforced: boolean): void {
    const { kind, because } = decision
    for (const [method, result] of Object.entries({ ...results, decision: kind }))
      this.#counters.add("postern_smtp_auth_total", { method, result })
    this.#log().info("smtp.judged", { ...results, author, decision: kind, because, enforced })
    if (enforced && (kind === "reject" || kind === "defer")) {
      this.#content.refusal = new GatewayError(codeOf(kind, author), `smtp: ${because}`)
      throw this.#content.refusal
    }
    const passed = results.dmarc === "pass" && author !== null ? { author } : {}
    const quarantine = enforced && kind === "quarantine"
    this.authentication = { field, quarantine, chain: chainStatus(results.arc), ...passed }
  }
}

/** Of a chain that nothing good can be said of nothing good is said. */
function chainStatus(result: string): ChainStatus {
  return result === "none" || result === "pass" ? result : "fail"
}

function codeOf(kind: "reject" | "defer", author: string | null) {
  if (kind === "defer") return "AUTHENTICATION_UNDECIDED"
  return author === null ? "AUTHOR_AMBIGUOUS" : "AUTHENTICATION_FAILED"
}
