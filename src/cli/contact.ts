import { readFileSync } from "node:fs"
import { resolve } from "node:path"
import type { Command } from "commander"
import { base64UrlDecode, base64UrlEncode } from "../crypto/jsonb/base64url.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import { makeIntroduction, readIntroduction } from "../mesh/contact/introduction.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import { shownAddress } from "../message/shown-address.ts"
import { ContactBook, type Deciding } from "../store/contact-book.ts"
import { addressOf, type ContactView, contactViews } from "../store/contact-view.ts"
import { writeDurably } from "../store/durable.ts"
import { MeshAccounts } from "../store/mesh-accounts.ts"
import { checkGatewayConnection, openMeshHost } from "../store/mesh-host.ts"
import { knownAccount } from "./change.ts"
import { type CommonOptions, type OpenInstance, openInstance, optionsOf, print, printJson } from "./shell.ts"

interface DecidingOptions extends CommonOptions {
  readonly by?: string
}

interface RequestOptions extends DecidingOptions {
  readonly text: string
  readonly udf?: string
  readonly introduction?: string
}

const WHO = `
<account> is one of the people here. <who> is an address, or the UDF of a profile, which no other looks like.`

/** `postern contact`. */
export function registerContact(program: Command): void {
  const contact = program
    .command("contact")
    .description("Whose mail comes in over the Mesh: contacts, and who asks to be one.")
    .addHelpText("after", WHO)
  contact
    .command("list <account>")
    .description("Contacts, who asks to be one, and whom the person has asked.")
    .option("--json", "one JSON value on stdout")
    .action((account: string, _options: unknown, command: Command) => list(account, optionsOf(command)))
  deciding(contact.command("request <account> <address>"))
    .description("Ask somebody to be a contact, and take him as one when he says so.")
    .requiredOption("--text <text>", "what he reads: plain, at most 1,000 characters, no links")
    .option("--udf <udf>", "UDF of his profile; the address's domain has to name this one")
    .option("--introduction <file>", "from a contact of his (postern contact introduce)")
    .action((account: string, who: string, _options: unknown, command: Command) =>
      request(account, who, optionsOf(command)),
    )
  deciding(contact.command("accept <account> <who>"))
    .description("Accept who has asked: his mail comes in, and he is told of this account's profile.")
    .option("--name <name>", "what he is called here")
    .action((account: string, who: string, _options: unknown, command: Command) =>
      accept(account, who, optionsOf(command)),
    )
  deciding(contact.command("refuse <account> <who>"))
    .description("Say no. He is not told, and may ask again after 30 days.")
    .action((account: string, who: string, _options: unknown, command: Command) =>
      decide(account, who, optionsOf(command), "refused", (book, of) => book.refuse(of, new Date())),
    )
  deciding(contact.command("block <account> <who>"))
    .description("Let nothing in from this address or its profile.")
    .action((account: string, who: string, _options: unknown, command: Command) =>
      decide(account, who, optionsOf(command), "blocked", (book, of) => book.block(of, new Date())),
    )
  deciding(contact.command("remove <account> <who>"))
    .description("Forget contact, request or block.")
    .action((account: string, who: string, _options: unknown, command: Command) =>
      decide(account, who, optionsOf(command), "removed", (book, of) => book.remove(of)),
    )
  contact
    .command("delegate <account> [person]")
    .description("Let another person here get the account's requests and answer them; without one: the account itself.")
    .action((account: string, person: string | undefined, _options: unknown, command: Command) =>
      delegate(account, person ?? null, optionsOf(command)),
    )
  contact
    .command("introduce <account> <who> <to>")
    .description("Write an introduction of one contact to another, with which his request needs no proof of work.")
    .requiredOption("--out <file>", "where it is written; for <who>, and of no use to others")
    .action((account: string, who: string, to: string, _options: unknown, command: Command) =>
      introduce(account, who, to, optionsOf(command)),
    )
}

function deciding(command: Command): Command {
  return command.option("--by <address>", "who decides: the person, or who handles the requests (default: the person)")
}

function list(written: string, options: CommonOptions): void {
  using instance = openInstance(options)
  const account = accountOf(instance, written)
  const book = new ContactBook(instance.database)
  const views = contactViews(book, account)
  const handledBy = book.contacts.delegate(account) ?? account
  if (options.json) {
    printJson({ account, handledBy, contacts: views })
    return
  }
  if (handledBy !== account) print(`requests are handled by ${handledBy}`)
  if (views.length === 0) print("no contacts, and nobody asks")
  for (const view of views) for (const line of linesOf(view)) print(line)
}

function request(written: string, who: string, options: RequestOptions): void {
  using instance = openInstance(options)
  const account = accountOf(instance, written)
  if (new MeshAccounts(instance.database).of(account) === null)
    throw new GatewayError(
      "ACCOUNT_UNKNOWN",
      `account ${account}: has no part in the Mesh: postern account mesh ${account}`,
    )
  const address = addressKey(parseAddress(who))
  const asking = {
    account,
    address,
    by: byOf(account, options),
    text: options.text.replaceAll("\r\n", "\n"),
    udf: options.udf ?? "",
    introduction: options.introduction === undefined ? new Uint8Array(0) : introductionIn(options.introduction),
  }
  const outcome = new ContactBook(instance.database).request(asking, randomOctets, new Date())
  print(
    outcome === "accepted"
      ? `contact ${shownAddress(address)}: had asked already, and is accepted`
      : `contact ${shownAddress(address)}: is asked; postern contact list tells what became of it`,
  )
}

function accept(account: string, who: string, options: DecidingOptions & { readonly name?: string }): void {
  decide(account, who, options, "accepted", (book, of) => book.accept(of, options.name ?? null, new Date()))
}

function decide(
  written: string,
  who: string,
  options: DecidingOptions,
  done: string,
  act: (book: ContactBook, deciding: Deciding) => void,
): void {
  using instance = openInstance(options)
  const account = accountOf(instance, written)
  const book = new ContactBook(instance.database)
  const address = knownAs(book, account, who)
  act(book, { account, address, by: byOf(account, options) })
  print(`contact ${shownAddress(address)}: ${done}`)
}

function delegate(written: string, person: string | null, options: CommonOptions): void {
  using instance = openInstance(options)
  const account = accountOf(instance, written)
  const other = person === null ? null : accountOf(instance, person)
  new ContactBook(instance.database).contacts.setDelegate(account, other === account ? null : other, new Date())
  print(`requests to ${account}: handled by ${other ?? account}`)
}

function introduce(written: string, who: string, to: string, options: CommonOptions & { readonly out: string }): void {
  using instance = openInstance(options)
  const { config, database } = instance
  const account = accountOf(instance, written)
  const own = new MeshAccounts(database).of(account)
  if (own === null)
    throw new GatewayError(
      "ACCOUNT_UNKNOWN",
      `account ${account}: has no part in the Mesh: postern account mesh ${account}`,
    )
  const book = new ContactBook(database)
  const now = new Date()
  const host = openMeshHost(config.secrets, now)
  checkGatewayConnection(host, own, now)
  const introduction = makeIntroduction(
    { introducer: own.udf, subject: acceptedUdf(book, account, who), recipient: acceptedUdf(book, account, to) },
    { signer: host.signerOf(own), connection: own.connection },
    { created: now, notOnOrAfter: new Date(now.getTime() + INTRODUCED_MS) },
  )
  writeDurably(resolve(options.out), new TextEncoder().encode(`${base64UrlEncode(introduction)}\n`))
  print(`wrote ${options.out}: good for 30 days, for ${shownAddress(who)} and to ${shownAddress(to)} only`)
}

/** @throws GatewayError CONTACT_UNKNOWN: whoever is no contact is not introduced, nor to whom */
function acceptedUdf(book: ContactBook, account: string, who: string): string {
  const known = book.contacts.at(account, knownAs(book, account, who))
  if (known?.state === "accepted") return known.udf
  throw new GatewayError("CONTACT_UNKNOWN", `contact ${shownAddress(who)} of ${account}: is no contact`)
}

function introductionIn(file: string): Uint8Array {
  try {
    const octets = base64UrlDecode(readFileSync(resolve(file), "utf8").trim())
    if (octets === null) throw new GatewayError("REQUEST_INVALID", "no base64url")
    return readIntroduction(octets).object.envelope
  } catch (cause) {
    throw new GatewayError("REQUEST_INVALID", `${file}: no introduction`, { cause })
  }
}

function linesOf(view: ContactView): readonly string[] {
  const { address, udf, state, name, text, introducer, because } = view
  const notes = [
    ...(name === "" ? [] : [name]),
    ...(introducer === "" ? [] : [`introduced by ${introducer}`]),
    ...(because === "" ? [] : [because]),
  ]
  const bars = state === "asking" ? text.split("\n").map((line) => `  | ${line}`) : []
  return [[state, address, udf, ...notes].join("\t"), ...bars]
}

function accountOf({ people }: OpenInstance, written: string): string {
  return knownAccount(people.account(written), written).address
}

function byOf(account: string, { by }: DecidingOptions): string {
  return by === undefined ? account : addressKey(parseAddress(by))
}

function knownAs(book: ContactBook, account: string, who: string): string {
  const address = addressOf(book, account, who)
  if (address === null) throw new GatewayError("CONTACT_UNKNOWN", `contact ${shownAddress(who)} of ${account}: unknown`)
  return address
}

const INTRODUCED_MS = 30 * 86_400e3
