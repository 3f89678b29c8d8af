/** PURE */
import { type JsonValue, octetsOf } from "../crypto/jsonb/value.ts"

/**
 * An envelope within an object, as it was received: it stands there as the array that it is, which is how published objects have it, or as binary.
 * @param octets what the value was read from
 * @throws GatewayError JSONB_TYPE for anything else
 */
export function envelopedIn(octets: Uint8Array, value: JsonValue, what: string): Uint8Array {
  return value.kind === "array" || value.kind === "object"
    ? octets.subarray(value.start, value.end)
    : octetsOf(value, what)
}
