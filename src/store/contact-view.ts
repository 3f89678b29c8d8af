import { readContactMessage } from "../mesh/contact/message.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import { shownAddress } from "../message/shown-address.ts"
import type { ContactBook } from "./contact-book.ts"
import type { Contact } from "./contacts.ts"

/** A contact, or who is to become one, as it is told to people and programs. */
export interface ContactView {
  /** Letters that are not ASCII by number; what names him otherwise is `udf`. */
  readonly address: string
  /** Empty: not known yet. */
  readonly udf: string
  /** `asked`: by our person. `failed`: that came to nothing. */
  readonly state: Contact["state"] | "asked" | "failed"
  readonly name: string
  /** What he wrote, or was written; empty: nothing. */
  readonly text: string
  readonly introducer: string
  readonly decidedBy: string
  /** Why a message to him failed, or has not gone yet. */
  readonly because: string
  readonly since: string
}

/** Contacts of an account, who asks to be one, and whom it has asked. */
export function contactViews({ contacts, posts }: ContactBook, account: string): readonly ContactView[] {
  const leaving = posts.of(account)
  const known = contacts.of(account).map((contact) => {
    const { udf, state, label, introducer, decidedBy, changedAt } = contact
    const because = leaving.find(({ address }) => address === contact.address)?.reason ?? ""
    const shown = { address: shownAddress(contact.address), udf, state, name: label, text: textOf(contact) }
    return { ...shown, introducer: shownAddress(introducer), decidedBy, because, since: changedAt.toISOString() }
  })
  const asked = leaving
    .filter(({ kind }) => kind === "request")
    .map(({ address, udf, state, text, reason, madeAt }) => ({
      address: shownAddress(address),
      udf,
      state: state === "failed" ? ("failed" as const) : ("asked" as const),
      name: "",
      text,
      introducer: "",
      decidedBy: account,
      because: reason,
      since: madeAt.toISOString(),
    }))
  return [...known, ...asked]
}

/**
 * The address that somebody is kept under.
 * @param who an address, or the UDF of a profile that is known
 * @returns null: a UDF of nobody
 * @throws GatewayError ADDRESS_SYNTAX
 */
export function addressOf({ contacts }: ContactBook, account: string, who: string): string | null {
  if (who.includes("@")) return addressKey(parseAddress(who))
  return contacts.byUdf(account, who)?.address ?? null
}

function textOf({ message }: Contact): string {
  return message.length === 0 ? "" : readContactMessage(message).statement.text
}
