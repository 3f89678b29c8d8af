import { randomOctets } from "../../src/crypto/primitives/random.ts"
import { type Made, makeAccount } from "../../src/identity/account.ts"
import { type MadeDevice, makeDevice } from "../../src/identity/device.ts"
import type { Making } from "../../src/identity/issuing.ts"
import type { Person } from "../../src/identity/person.ts"
import type { Format } from "../../src/store/account.ts"

/** A day on which nothing expires. */
export const NOW = new Date("2026-05-04T10:20:30.456Z")

/** Clock and randomness of a test. */
export function makingAt(now: Date = NOW): Making {
  return { now, random: randomOctets }
}

/** alice@example.test. */
export function makeAlice(...formats: readonly Format[]): Promise<Made> {
  return makeAccount({ address: "alice@example.test", name: "Alice Example", formats }, makingAt())
}

/** A device that may do everything. */
export function makeFullDevice(person: Person, name: string, making: Making = makingAt()): Promise<MadeDevice> {
  return makeDevice(person, { name, readOnly: false, protectOpenPgp: false }, making)
}
