import { readdirSync } from "node:fs"
import { People } from "../../src/store/people.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { UpstreamCredentials } from "../../src/store/upstream-credentials.ts"
import { temporaryFolder } from "./peers.ts"

/** Stored credentials of an instance that has these accounts and nothing else. */
export interface TestCredentials extends AsyncDisposable {
  readonly credentials: UpstreamCredentials
  /** The same as another process sees them. */
  another(): UpstreamCredentials
  /** The files in `secrets/upstream`. */
  keys(): string[]
}

export async function openCredentials(...accounts: readonly string[]): Promise<TestCredentials> {
  await using stack = new AsyncDisposableStack()
  const folder = stack.use(await temporaryFolder())
  const open = () => stack.adopt(openEmbeddedState(folder.file("data")), async (database) => database.close())
  const database = open()
  const domains = [...new Set(accounts.map((address) => address.split("@")[1] ?? ""))]
  const people = new People(database, { domains, postmaster: null, recryptionKeys: null })
  const some = Uint8Array.of(0)
  for (const address of accounts)
    people.addAccount(
      { address, name: "", formats: ["smime"], root: some, intermediate: some, keys: [], profile: "{}" },
      new Date(0),
    )
  const secrets = folder.file("upstream")
  const other = open()
  const kept = stack.move()
  return {
    credentials: new UpstreamCredentials(database, secrets),
    another: () => new UpstreamCredentials(other, secrets),
    keys: () => readdirSync(secrets),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}
