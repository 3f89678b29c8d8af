import type { ContactPost } from "../store/contact-posts.ts"
import { type ContactSending, sendContact } from "./send-contact.ts"

/** Contact messages that are sent at the same time. Each waits for a domain, and then for a service, a minute or two where nobody answers. */
export const MAX_UNDER_WAY = 8
/** Of them to one domain: one that does not answer holds up its own. */
export const MAX_UNDER_WAY_TO_DOMAIN = 4

/** Sends contact messages, some of them side by side, until it is disposed of; work for challenges is done for one at a time. */
export class ContactsUnderWay<Route> implements AsyncDisposable {
  readonly #sending: ContactSending<Route>
  readonly #ending = new AbortController()
  /** By the message's id. */
  readonly #underWay = new Map<string, { readonly domain: string; readonly done: Promise<void> }>()

  constructor(sending: Omit<ContactSending<Route>, "inTurn">) {
    this.#sending = { ...sending, inTurn: turns() }
  }

  /** Begins with those that are due and find a place, longest due first, and waits for none. */
  begin(): void {
    const { book, now } = this.#sending
    const isFull = () => this.#underWay.size >= MAX_UNDER_WAY || this.#ending.signal.aborted
    for (const post of isFull() ? [] : book.posts.due(now(), LOOKED_AT)) {
      if (isFull()) return
      const domain = post.address.slice(post.address.lastIndexOf("@") + 1)
      if (this.#underWay.has(post.id) || this.#countTo(domain) >= MAX_UNDER_WAY_TO_DOMAIN) continue
      const done = this.#send(post).finally(() => this.#underWay.delete(post.id))
      this.#underWay.set(post.id, { domain, done })
    }
  }

  /** What is wrong with one of them keeps no other. */
  async #send(post: ContactPost): Promise<void> {
    const { book, now, log } = this.#sending
    const { account, address } = post
    try {
      await sendContact(post, this.#sending, this.#ending.signal)
    } catch (error) {
      if (this.#ending.signal.aborted) return
      log.error("mesh.contacts-failed", { account, address }, error)
      try {
        book.posts.postpone(post, "internal error", new Date(now().getTime() + FAULT_MS))
      } catch (away) {
        // It is due still, and is begun again when the state is back.
        log.error("mesh.contacts-failed", { account, address }, away)
      }
    }
  }

  #countTo(domain: string): number {
    return [...this.#underWay.values()].filter((one) => one.domain === domain).length
  }

  /** Ends what is under way; it is tried again by whoever comes next. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort()
    await Promise.all([...this.#underWay.values()].map(({ done }) => done))
  }
}

/** @returns what does one thing at a time, in the order in which they are brought, whatever becomes of those before */
export function turns(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const done = last.then(work)
    last = done.catch(() => undefined)
    return done
  }
}

const FAULT_MS = 3_600_000
/** Of what is due: behind many for a domain that has its places others are to be found. */
const LOOKED_AT = 100
