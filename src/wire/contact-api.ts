import { join } from "node:path"
import { base64UrlEncode } from "../crypto/jsonb/base64url.ts"
import { equalConstantTime } from "../crypto/primitives/hash.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import type { ContactApi } from "../http/contacts.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import { ContactBook } from "../store/contact-book.ts"
import { addressOf, contactViews } from "../store/contact-view.ts"
import { keptSecret } from "../store/secrets.ts"
import type { Core } from "./core.ts"

/** What the administration API asks for. The worker makes it, too: where http runs apart it only reads the folder. */
export function contactToken(secrets: string): Uint8Array {
  return keptSecret(join(secrets, "mesh"), "contact-api", () => Buffer.from(base64UrlEncode(randomOctets(32))))
}

/** Contacts for whoever shows the token of secrets/mesh/contact-api, which is made at first use. */
export function contactApiOf({ config, database, people, now }: Core): ContactApi {
  const token = contactToken(config.secrets)
  const book = new ContactBook(database)
  const accountOf = (written: string): string => {
    const account = people.account(written)
    if (account === null) throw new GatewayError("ACCOUNT_UNKNOWN", `account ${written}: unknown`)
    return account.address
  }
  return {
    isToken: (shown) => equalConstantTime(Buffer.from(shown), token),
    list(written) {
      const account = accountOf(written)
      return { account, handledBy: book.contacts.delegate(account) ?? account, contacts: contactViews(book, account) }
    },
    answer(written, who, { answer, by, name }) {
      const account = accountOf(written)
      const address = addressOf(book, account, who)
      if (address === null) throw new GatewayError("CONTACT_UNKNOWN", `contacts of ${account}: nobody of this profile`)
      const deciding = { account, address, by: by === null ? account : addressKey(parseAddress(by)) }
      if (answer === "accept") book.accept(deciding, name, now())
      else if (answer === "refuse") book.refuse(deciding, now())
      else if (answer === "block") book.block(deciding, now())
      else book.remove(deciding)
    },
  }
}
