import { join } from "node:path"
import { hmacKey } from "../crypto/primitives/hash.ts"
import { workOf } from "../mesh/admission.ts"
import type { Receive } from "../mesh-in/ports.ts"
import { receivingContacts, type Vouched } from "../mesh-in/receive-contact.ts"
import { ContactBook } from "../store/contact-book.ts"
import { secret } from "../store/secrets.ts"
import type { Core } from "./core.ts"

/** Takes contact messages. `vouched`: as `ContactMeans` has it. */
export function contactReceiver(
  { config, database, log }: Pick<Core, "config" | "database" | "log">,
  vouched: (address: string, udf: string) => Promise<Vouched | null>,
): Receive {
  const admissionKey = hmacKey(secret(join(config.secrets, "mesh"), "admission"))
  return receivingContacts({ book: new ContactBook(database), vouched, admissionKey, workOf, log })
}
