import { type Command, Option } from "commander"
import type { Config, SecretSource } from "../config/config.ts"
import { readSecretText } from "../config/load.ts"
import { GatewayError, hasCode } from "../errors.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import type { OAuthCredential, UpstreamCredential } from "../store/upstream-credential.ts"
import type { StoredCredential } from "../store/upstream-credentials.ts"
import { knownAccount } from "./change.ts"
import { type CommonOptions, openInstance, optionsOf, print, printJson, type Shell, warn } from "./shell.ts"

interface SetOptions extends CommonOptions {
  readonly user: string
  readonly passwordFile?: string
  readonly oauth?: string
  readonly clientId?: string
  readonly clientSecretFile?: string
  readonly refreshTokenFile?: string
  readonly scope?: string
}

/** Token endpoints by name, and the scopes that IMAP needs there. */
const PROVIDERS: Readonly<Record<string, { readonly tokenEndpoint: string; readonly scope: string }>> = {
  google: { tokenEndpoint: "https://oauth2.googleapis.com/token", scope: "https://mail.google.com/" },
  microsoft: {
    tokenEndpoint: "https://login.microsoftonline.com/common/oauth2/v2.0/token",
    scope: "https://outlook.office.com/IMAP.AccessAsUser.All offline_access",
  },
}

/** `postern upstream`. */
export function registerUpstream(program: Command, shell: Shell): void {
  const upstream = program
    .command("upstream")
    .description('How accounts log in at the IMAP server behind the proxy (mailboxes.auth = "stored").')
  upstream
    .command("set <address>")
    .description("Keep the credential of an account, sealed; it takes the place of an earlier one at once.")
    .requiredOption("--user <name>", "the account's name at that server")
    .option("--password-file <file>", "file with its password there (an app password, for instance)")
    .addOption(
      new Option(
        "--oauth <provider>",
        "google, microsoft, or the https URL of a token endpoint (RFC 6749 §3.2)",
      ).conflicts("passwordFile"),
    )
    .option("--client-id <id>", "with --oauth: the application that the owner consented to")
    .option("--client-secret-file <file>", "with --oauth: file with the application's secret, where it has one")
    .option("--refresh-token-file <file>", "with --oauth: file with the refresh token that the consent gave")
    .option("--scope <scope>", "with --oauth: what is asked for (default: what IMAP needs at google and microsoft)")
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => set(address, optionsOf<SetOptions>(command)))
  upstream
    .command("list")
    .description("The accounts that have a credential.")
    .option("--json", "one JSON value on stdout")
    .action((_options: unknown, command: Command) => list(optionsOf(command)))
  upstream
    .command("show <address>")
    .description("What is kept for an account, without the secrets.")
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => show(address, optionsOf(command)))
  upstream
    .command("remove <address>")
    .description("Destroy the credential of an account. Connections that are open stay open.")
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => remove(address, optionsOf(command)))
  upstream
    .command("test <address>")
    .description("Log in at the server as the proxy does for this account, and tell what it offers.")
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => test(address, optionsOf(command), shell))
}

function set(written: string, options: SetOptions): void {
  using instance = openInstance(options)
  const { address } = knownAccount(instance.people.account(written), written)
  instance.upstreamCredentials.set(address, credentialOf(options), new Date())
  warnUnused(instance.config)
  const view = viewOf(address, instance.upstreamCredentials.read(address))
  if (options.json) printJson(view)
  else print(`upstream credential of ${address}: set; "postern upstream test ${address}" tries it`)
}

/** @throws GatewayError USAGE for options that do not go together */
function credentialOf(options: SetOptions): UpstreamCredential {
  const { user, passwordFile, oauth, clientId, clientSecretFile, refreshTokenFile, scope } = options
  if (passwordFile !== undefined) {
    if (clientId ?? clientSecretFile ?? refreshTokenFile ?? scope)
      throw new GatewayError("USAGE", "upstream set: --client-id and its kin go with --oauth")
    return { kind: "password", user, password: readSecretText(file(passwordFile)) }
  }
  if (oauth === undefined) throw new GatewayError("USAGE", "upstream set: give --password-file or --oauth")
  if (clientId === undefined || refreshTokenFile === undefined)
    throw new GatewayError("USAGE", "upstream set: --oauth needs --client-id and --refresh-token-file")
  const provider = PROVIDERS[oauth] ?? { tokenEndpoint: oauth, scope: null }
  return {
    kind: "oauth",
    user,
    tokenEndpoint: provider.tokenEndpoint,
    clientId,
    clientSecret: clientSecretFile === undefined ? null : readSecretText(file(clientSecretFile)),
    scope: scope ?? provider.scope,
    refreshToken: readSecretText(file(refreshTokenFile)),
    answer: null,
  }
}

function file(path: string): SecretSource {
  return { kind: "file", path }
}

function list(options: CommonOptions): void {
  using instance = openInstance(options)
  const { upstreamCredentials } = instance
  const views = upstreamCredentials.accounts().flatMap((address) => {
    try {
      return [viewOf(address, upstreamCredentials.read(address))]
    } catch (error) {
      if (!hasCode(error, "STATE_CORRUPT")) throw error
      warn(`upstream credential of ${address}: cannot be opened, set it again`)
      return []
    }
  })
  if (options.json) {
    printJson(views)
    return
  }
  if (views.length === 0) print("no account has a credential")
  for (const view of views) print([view.address, view.kind, view.user, `since ${view.setAt}`].join("\t"))
}

function show(written: string, options: CommonOptions): void {
  using instance = openInstance(options)
  const { address } = knownAccount(instance.people.account(written), written)
  const view = viewOf(address, instance.upstreamCredentials.read(address))
  if (options.json) {
    printJson(view)
    return
  }
  print(`${view.address}: ${view.kind} of ${view.user}, set ${view.setAt}`)
  if (view.oauth === undefined) return
  print(`token endpoint: ${view.oauth.tokenEndpoint}, client ${view.oauth.clientId}`)
  if (view.oauth.scope !== null) print(`scope: ${view.oauth.scope}`)
  print(`state: ${view.oauth.state}`)
}

/** A credential as it may be shown. */
function viewOf(address: string, stored: StoredCredential | null) {
  if (stored === null) throw new GatewayError("CREDENTIAL_UNKNOWN", `upstream credential of ${address}: there is none`)
  const { credential, setAt } = stored
  return {
    address,
    kind: credential.kind,
    user: credential.user,
    setAt: setAt.toISOString(),
    ...(credential.kind === "oauth" ? { oauth: oauthView(credential) } : {}),
  }
}

function oauthView({ tokenEndpoint, clientId, clientSecret, scope, answer }: OAuthCredential) {
  return { tokenEndpoint, clientId, hasClientSecret: clientSecret !== null, scope, state: stateOf(answer) }
}

function stateOf(answer: OAuthCredential["answer"]): string {
  switch (answer?.kind) {
    case "granted":
      return `access token until ${new Date(answer.expiresAtMs).toISOString()}`
    case "refused":
      return `refused at ${new Date(answer.atMs).toISOString()}: ${answer.reason}`
    case undefined:
      return "not used yet"
  }
}

function remove(written: string, options: CommonOptions): void {
  using instance = openInstance(options)
  const address = addressKey(parseAddress(written))
  if (!instance.upstreamCredentials.remove(address))
    throw new GatewayError("CREDENTIAL_UNKNOWN", `upstream credential of ${address}: there is none`)
  if (options.json) printJson({ address })
  else print(`upstream credential of ${address}: destroyed`)
}

async function test(written: string, options: CommonOptions, { starters }: Shell): Promise<void> {
  const { config, address } = accountAndConfig(written, options)
  const { capabilities, offered } = await starters.tryUpstream(config, address)
  const withheld = capabilities.filter((word) => !offered.some((known) => known.toUpperCase() === word.toUpperCase()))
  if (options.json) {
    printJson({ address, capabilities, offered, withheld })
    return
  }
  print(`${address}: logged in`)
  print(`offered to clients: ${offered.join(" ")}`)
  print(`withheld: ${withheld.join(" ") || "nothing"}`)
}

function accountAndConfig(
  written: string,
  options: CommonOptions,
): { readonly config: Config; readonly address: string } {
  using instance = openInstance(options)
  return { config: instance.config, address: knownAccount(instance.people.account(written), written).address }
}

function warnUnused({ file, imap }: Config): void {
  if (imap.kind === "embedded" || imap.login.kind !== "stored")
    warn(`${file}: mailboxes.imap is no server with mailboxes.auth = "stored": the credential is not used`)
}
