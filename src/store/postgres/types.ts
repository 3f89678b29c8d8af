import type pg from "pg"
import { GatewayError } from "../../errors.ts"

/** How columns arrive: whole numbers as numbers, octets as Uint8Array, all else as text. */
export const COLUMN_TYPES: pg.CustomTypesConfig = {
  getTypeParser: (oid: number) => PARSERS[oid] ?? ((text: string) => text),
}

// Object identifiers of types, fixed in PostgreSQL's pg_type.dat. numeric: sums of bigint.
const PARSERS: Readonly<Record<number, (text: string) => unknown>> = {
  17: octets,
  20: wholeNumber,
  21: wholeNumber,
  23: wholeNumber,
  1700: wholeNumber,
}

function wholeNumber(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value))
    throw new GatewayError("STATE_CORRUPT", "postgres: a number is not whole, or too large")
  return value
}

/** bytea_output = hex: `\x` and two digits for each. Of its own memory: those of a pool would cross threads whole. */
function octets(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.slice(2), "hex"))
}
