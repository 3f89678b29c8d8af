import { Dovecot } from "../../harness/dovecot.ts"
import type { TemporaryFolder } from "../../harness/peers.ts"
import { WireClient } from "../../harness/wire.ts"
import { crlf, MESSAGES } from "../messages.ts"

/** What lies in INBOX when a client of a transcript comes: UIDs 1 to 6, the last one of a size that is fetched in chunks. */
export const GOLDEN_MESSAGES: readonly string[] = [...Object.values(MESSAGES), large()]

/** A Dovecot with the folders that clients look for. Every name has an account, with the password `x`. */
export function goldenDovecot(folder: TemporaryFolder): Promise<Dovecot> {
  return Dovecot.start(folder.file("dovecot"), folder.file("mail"), { more: FOLDERS })
}

/** Makes the INBOX of an account. */
export async function fillInbox(dovecot: Dovecot, user: string): Promise<void> {
  using client = await WireClient.connect(dovecot.imapPort)
  await client.until(/\r\n/)
  await client.write(`a LOGIN ${user} x\r\n`)
  await client.until(/^a OK .*\r\n/m)
  for (const [index, message] of GOLDEN_MESSAGES.entries()) {
    const flags = index % 2 === 0 ? "(\\Seen)" : "()"
    const append = `a APPEND INBOX ${flags} "0${index + 1}-Oct-2026 10:00:00 +0000" {${message.length}+}\r\n${message}\r\n`
    await client.write(Buffer.from(append, "latin1"))
    await client.until(/^a OK .*\r\n/m)
  }
}

/** 130 kB: over Thunderbird's 98,304 and under K-9's 131,072 octets. */
function large(): string {
  const list = MESSAGES["list"] ?? ""
  return list.replace("footer of the list", crlf("a line of a long footer of the list\n".repeat(3500)))
}

const FOLDERS = `mail_fsync = never
namespace inbox {
  separator = /
  mailbox Sent {
    auto = subscribe
    special_use = \\Sent
  }
  mailbox Drafts {
    auto = subscribe
    special_use = \\Drafts
  }
  mailbox Trash {
    auto = subscribe
    special_use = \\Trash
  }
}
`
