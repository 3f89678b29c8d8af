import { readFileSync } from "node:fs"
import { type Command, InvalidArgumentError } from "commander"
import { GatewayError } from "../errors.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import { parseMailboxList } from "../message/mailboxes.ts"
import { type Field, fieldText, headerEnd, parseFields } from "../mime/header.ts"
import { type Prospect, policyView, standInText, subjectField } from "../profiles/prospect.ts"
import { readGiven } from "./given-file.ts"
import { MAX_DAYS, preview } from "./policy-preview.ts"
import { type CommonOptions, openInstance, optionsOf, print, printJson, type Shell } from "./shell.ts"

/** `postern policy`. */
export function registerPolicy(program: Command, shell: Shell): void {
  const policy = program.command("policy").description("What becomes of mail to other domains, and why.")
  policy
    .command("test [message]")
    .description(
      "Explain what would become of a message (a file, or - for standard input) or of any between two people; nothing is sent.",
    )
    .option("--from <address>", "the sender; default: the message's author")
    .option("--to <address...>", "the recipients; default: those of the message")
    .option("--subject <text>", "instead of a message's subject")
    .option("--json", "one JSON value on stdout")
    .action((message: string | undefined, _options: unknown, command: Command) =>
      explain(message ?? null, optionsOf(command), shell),
    )
  policy
    .command("preview <file>")
    .description(
      "Say what the policy of another postern.toml would have done to the last days' mail; nothing is changed.",
    )
    .option("--days <number>", `how many days (up to ${MAX_DAYS} are kept)`, readDays, 30)
    .option("--json", "one JSON value on stdout")
    .action((file: string, _options: unknown, command: Command) => preview(file, optionsOf(command)))
}

function readDays(text: string): number {
  const days = Number(text)
  if (!Number.isInteger(days) || days < 1 || days > MAX_DAYS)
    throw new InvalidArgumentError(`must be a number from 1 to ${MAX_DAYS}`)
  return days
}

interface TestOptions extends CommonOptions {
  readonly from?: string
  readonly to?: readonly string[]
  readonly subject?: string
}

async function explain(file: string | null, options: TestOptions, shell: Shell): Promise<void> {
  const header = headerOf(file, options)
  const fields = parseFields(header)
  const sender = options.from ?? addressesIn(fields, "from")[0] ?? null
  const recipients = options.to ?? [...new Set(["to", "cc", "bcc"].flatMap((name) => addressesIn(fields, name)))]
  if (recipients.length === 0)
    throw new GatewayError("USAGE", "policy test: nobody to write to; give --to or a message with To")
  using instance = openInstance(options)
  const prospects: { readonly recipient: string; readonly prospect: Prospect }[] = []
  for (const one of recipients) {
    const recipient = addressKey(parseAddress(one))
    const prospect = await shell.starters.prospect(instance, { sender, recipient, header, anew: false })
    prospects.push({ recipient, prospect })
  }
  if (options.json)
    printJson({ sender, recipients: prospects.map(({ recipient, prospect }) => policyView(recipient, prospect)) })
  else for (const one of prospects) show(one)
}

function headerOf(file: string | null, { subject }: TestOptions): Uint8Array {
  const octets = file === null ? new Uint8Array(0) : messageIn(file)
  const header = octets.subarray(0, headerEnd(octets) ?? octets.length)
  if (subject === undefined) return header
  const others = parseFields(header).filter(({ name }) => name !== "subject" && name !== "")
  return Buffer.concat([...others.map((field) => field.octets), subjectField(subject), Buffer.from("\r\n")])
}

function messageIn(file: string): Uint8Array {
  return file === "-" ? readFileSync(0) : readGiven(file, "USAGE")
}

function addressesIn(fields: readonly Field[], name: string): readonly string[] {
  return fields
    .filter((field) => field.name === name)
    .flatMap((field) => parseMailboxList(fieldText(field)))
    .map(addressKey)
}

function show({
  recipient,
  prospect: { decision, policy, statedBy, tags, standIn },
}: {
  recipient: string
  prospect: Prospect
}): void {
  print(`${recipient}: ${decision.kind}, ${decision.because}`)
  const offered = standInText(standIn)
  if (offered !== null) print(`    ${offered}`)
  for (const [word, value] of Object.entries(policy)) {
    const rule = statedBy[word as keyof typeof statedBy]
    print(`    ${word} = ${JSON.stringify(value)}${rule === null ? "" : `, by rule "${rule}"`}`)
  }
  for (const tag of tags) print(`    leaves without ${tag} in its subject`)
}
