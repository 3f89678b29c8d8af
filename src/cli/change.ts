import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import type { Made } from "../identity/account.ts"
import type { Making } from "../identity/issuing.ts"
import type { Person } from "../identity/person.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import type { Account } from "../store/people.ts"
import { type KeyringOptions, openKeyring, warnUnsealed } from "./keyring.ts"
import type { CommonOptions } from "./shell.ts"
import { submit, whenOnline } from "./submit.ts"

/** Makes a change of an account with its keyring, and tells the server. */
export async function changed(
  written: string,
  options: CommonOptions & KeyringOptions,
  make: (person: Person, making: Making) => Made | Promise<Made>,
): Promise<Made> {
  const address = addressKey(parseAddress(written))
  await whenOnline(options, ({ people }) => void knownAccount(people.account(address), address))
  const keyring = await openKeyring(options, address)
  const before = await keyring.open(address)
  const made = await make(before, making())
  await submit(options, keyring, before, made)
  warnUnsealed(keyring, address)
  return made
}

/** Clock and randomness of a command. */
export function making(): Making {
  return { now: new Date(), random: randomOctets }
}

/** @throws GatewayError ACCOUNT_UNKNOWN */
export function knownAccount(account: Account | null, written: string): Account {
  if (account === null) throw new GatewayError("ACCOUNT_UNKNOWN", `account ${written}: unknown`)
  return account
}
