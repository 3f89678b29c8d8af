import { describe, expect, test } from "vitest"
import { Dovecot, dovecotPossible } from "../harness/dovecot.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { ImapClient } from "./imap-client.ts"
import { ACCOUNT, deliver, serveStore } from "./served-store.ts"

describe.skipIf(!dovecotPossible)("Dovecot takes over, and gives back", () => {
  test("the same UIDs, UIDVALIDITY, flags, keywords, dates and structures; and we see what Dovecot added", async () => {
    await using folder = await temporaryFolder()
    const root = folder.file("mail")
    let before: readonly string[]
    {
      await using served = await serveStore(root)
      for (const text of MESSAGES) await deliver(served.store, text, new Date(1_700_000_000_000))
      await using client = await ImapClient.connect(served.port)
      await client.ok("SELECT INBOX")
      await client.ok("STORE 1 +FLAGS.SILENT (\\Flagged $Forwarded)")
      await client.ok("STORE 2 +FLAGS.SILENT (\\Answered \\Seen blue)")
      await client.ok("COPY 1:2 Archive")
      await client.ok("CREATE &ZeVnLIqe-.below")
      await client.ok("UID STORE 3 +FLAGS.SILENT \\Deleted")
      await client.ok("EXPUNGE")
      before = await snapshot(client)
      await client.ok("LOGOUT")
    }
    {
      await using dovecot = await Dovecot.start(folder.file("dovecot"), root)
      await using client = await ImapClient.connect(dovecot.imapPort)
      await client.ok(`LOGIN ${ACCOUNT} x`)
      expect(await snapshot(client)).toEqual(before)
      await client.ok("SELECT INBOX")
      await client.ok(`APPEND INBOX (\\Draft green) {12+}\r\nA: b\r\n\r\nnew\n`)
      await client.ok("STORE 1 -FLAGS.SILENT \\Flagged")
      await client.ok("UID STORE 2 +FLAGS.SILENT \\Deleted")
      await client.ok("EXPUNGE")
      await client.ok("CREATE ByDovecot")
      await client.ok("SUBSCRIBE ByDovecot")
      before = await snapshot(client)
      await client.ok("LOGOUT")
    }
    {
      await using served = await serveStore(root)
      await using client = await ImapClient.connect(served.port)
      expect(await snapshot(client)).toEqual(before)
      expect(before.join("")).toContain("green")
      await client.ok("SELECT INBOX")
      // Stored by Dovecot with LF: on the wire every line ends in CRLF.
      expect(await client.ok("FETCH * (RFC822.SIZE BODY.PEEK[] BODY.PEEK[TEXT]<1.3>)")).toContain(
        "RFC822.SIZE 13 BODY[] {13}\r\nA: b\r\n\r\nnew\r\n BODY[TEXT]<1> {3}\r\new\r)",
      )
      await deliver(served.store, "Subject: again\n\nours\n")
      await client.ok("NOOP")
      before = await snapshot(client)
    }
    await using dovecot = await Dovecot.start(folder.file("dovecot"), root)
    await using client = await ImapClient.connect(dovecot.imapPort)
    await client.ok(`LOGIN ${ACCOUNT} x`)
    expect(await snapshot(client)).toEqual(before)
    expect(dovecot.log).not.toMatch(/imap\(.*(?:Error|Warning|Panic)/)
  })
})

/** What a client sees, in a form that does not depend on the order of items or on letter case of atoms. */
async function snapshot(client: ImapClient): Promise<string[]> {
  const lines: string[] = []
  const names = [...(await client.ok('LIST "" *')).matchAll(/^\* LIST \(([^)]*)\) "\." (\S+)/gm)]
    .filter(([, attributes]) => !/noselect|nonexistent/i.test(attributes ?? ""))
    .map(([, , name]) => name ?? "")
    .sort()
  const subscribed = [...(await client.ok('LSUB "" *')).matchAll(/^\* LSUB \([^)]*\) "\." (\S+)/gm)].map(
    ([, name]) => name ?? "",
  )
  lines.push(`subscribed ${subscribed.sort().join(" ")}`)
  for (const name of names) {
    const status = await client.ok(`STATUS ${name} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)`)
    lines.push(status.split("\r\n")[0] ?? "")
    await client.ok(`EXAMINE ${name}`)
    for (const item of ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE", "BODY"]) {
      const answer = await client.ok(`UID FETCH 1:* (${item})`)
      lines.push(...withoutTag(answer).map(normal))
    }
    for (const item of [
      "BODY.PEEK[]",
      "BODY.PEEK[1]",
      "BODY.PEEK[2.1]",
      "BODY.PEEK[2.MIME]",
      "BODY.PEEK[2.HEADER]",
      "BODY.PEEK[HEADER.FIELDS (SUBJECT TO)]",
      "BODY.PEEK[TEXT]<2.9>",
    ]) {
      // Dovecot gives an empty string for what is not there, where RFC 3501 has NIL.
      lines.push(
        ...withoutTag(await client.ok(`UID FETCH 1:* (${item})`)).map((line) => line.replace(/ \{0\}\r\n/, " NIL")),
      )
    }
    await client.ok("UNSELECT")
  }
  return lines
}

function withoutTag(answer: string): string[] {
  return answer
    .split(/\r\n(?=\* |t\d+ )/)
    .slice(0, -1)
    .filter((line) => !line.startsWith("* OK Still"))
}

function normal(line: string): string {
  const strings = quotedLiterals(line)
  const flags = strings.replace(/FLAGS \(([^)]*)\)/, (_, text: string) => `FLAGS ${flagSet(text)}`)
  return flags.replaceAll(/"[^"]*"/g, (text) => text.toLowerCase())
}

function flagSet(text: string): string {
  return text
    .split(" ")
    .filter((flag) => flag !== "\\Recent" && flag !== "")
    .sort()
    .join(" ")
}

/** Either side may choose a literal where the other quotes. */
function quotedLiterals(text: string): string {
  const found = /\{(\d+)\}\r\n/.exec(text)
  if (found === null) return text
  const start = found.index + found[0].length
  const end = start + Number(found[1])
  const quoted = `"${text.slice(start, end).replaceAll(/["\\]/g, "\\$&")}"`
  return text.slice(0, found.index) + quoted + quotedLiterals(text.slice(end))
}

const MESSAGES = [
  `From: Bob <bob@example.test>
To: "Alice, A." <alice@example.test>, team: a@b.c, d@e.f;, x@y.z (comment)
Cc: <@r1,@r2:u@h>, =?utf-8?Q?J=C3=B6?= <jo@ex.org>
Subject: =?utf-8?Q?h=C3=A4llo?= "quoted"
Date: Mon, 1 Jan 2024 00:00:00 +0000
Message-ID: <1@x>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b1"

preamble
--b1
Content-Type: text/plain; charset=utf-8; format=flowed
Content-Transfer-Encoding: 8bit
Content-Disposition: inline; filename="a b.txt"
Content-Language: de, en
Content-ID: <part1@x>

hello
wörld

--b1
Content-Type: message/rfc822
Content-Description: inner one

Subject: inner
From: x@y.z
Content-Type: multipart/alternative; boundary=b2

--b2

plain
--b2
Content-Type: text/html

<b>x</b>
--b2--
inner epilogue
--b1--
epilogue
`,
  "Subject: plain\n\none\ntwo\n",
  "Subject: to be deleted\n\nx\n",
  "Subject: encrypted\nMIME-Version: 1.0\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data;\n name=smime.p7m\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=smime.p7m\n\nMIIB\n",
  "no header at all\n",
  "Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: one\n\nx\n--d\n\nSubject: two\n\ny\n--d--\n",
  "Content-Type: multipart/mixed; boundary=none\n\nnothing here\n",
  "Subject: no body\n",
  "",
]
