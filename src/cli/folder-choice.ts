import { GatewayError } from "../errors.ts"

/** Which mailboxes a command is about; names as `postern` prints them. */
export interface FolderChoice {
  /** None: all of them. */
  readonly folder?: readonly string[]
  readonly skip?: readonly string[]
}

/** True when the choice takes the mailbox. @throws GatewayError MAILBOX_UNKNOWN for a name that is none of `names` */
export function chosenBy(choice: FolderChoice, names: readonly string[], address: string): (name: string) => boolean {
  const wanted = choice.folder?.map(canonical) ?? []
  const skipped = choice.skip?.map(canonical) ?? []
  const unknown = [...wanted, ...skipped].find((name) => !names.map(canonical).includes(name))
  if (unknown !== undefined)
    throw new GatewayError(
      "MAILBOX_UNKNOWN",
      `mailbox ${address}: has no folder ${unknown}; there are ${names.join(", ")}`,
    )
  return (name) => (wanted.length === 0 || wanted.includes(canonical(name))) && !skipped.includes(canonical(name))
}

/** RFC 9051 §5.1: INBOX in any case. */
export function canonical(name: string): string {
  return /^inbox$/i.test(name) ? "INBOX" : name
}
