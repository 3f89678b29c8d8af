import type { Config } from "../config/config.ts"
import { silentLog } from "../log/log.ts"
import { parseAddress } from "../message/address.ts"
import { Relay } from "../smtp-out/relay.ts"
import type { Screen } from "./demo-screen.ts"

/** A sample that was sent. */
export interface Sample {
  readonly to: string
  readonly subject: string
  readonly messageId: string
  /** A line that only the reader should see. */
  readonly line: string
}

/** Three letters from people who never heard of encryption, sent to our own MX. */
export async function sendSamples(config: Config, screen: Screen): Promise<Sample[]> {
  screen.scene("Three messages arrive over plain SMTP, from senders who know nothing of encryption")
  const stamp = Date.now().toString(36)
  const samples: Sample[] = [
    {
      to: "alice@example.test",
      subject: "Lunch on Friday?",
      messageId: `<${stamp}-1@elsewhere.test>`,
      line: "The table is booked for half past twelve.",
    },
    {
      to: "Alice+orders@example.test",
      subject: "Your order 4711",
      messageId: `<${stamp}-2@shop.test>`,
      line: "Pick-up code 2406, at the counter.",
    },
    {
      to: "bob@example.test",
      subject: "Minutes of the meeting",
      messageId: `<${stamp}-3@elsewhere.test>`,
      line: "We agreed to move the release to the 14th.",
    },
  ]
  await using relay = new Relay({ hostname: "elsewhere.test", log: silentLog() })
  for (const sample of samples) {
    const octets = Buffer.from(text(sample))
    const outcome = await relay.relayMessage(
      {
        sender: parseAddress("carol@elsewhere.test"),
        recipient: parseAddress(sample.to),
        smtpUtf8: false,
        envelopeId: null,
        returnContent: null,
        notify: null,
        originalRecipient: null,
        sizeOctets: octets.length,
        async *content() {
          yield octets
        },
      },
      { kind: "host", host: "127.0.0.1", port: config.listen.mx?.port ?? 25, tls: "opportunistic" },
      AbortSignal.timeout(30_000),
    )
    screen.line(`   to ${sample.to}: ${sample.subject}`)
    screen.note(outcome.status.diagnostic)
    screen.quote(sample.line)
  }
  return samples
}

function text({ to, subject, messageId, line }: Sample): string {
  return (
    `From: Carol <carol@elsewhere.test>\r\nTo: ${to}\r\nSubject: ${subject}\r\nDate: ${new Date().toUTCString().replace("GMT", "+0000")}\r\n` +
    `Message-ID: ${messageId}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello,\r\n\r\n${line}\r\n\r\nCarol\r\n`
  )
}
