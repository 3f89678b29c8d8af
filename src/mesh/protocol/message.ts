/** PURE */
import { readJson } from "../../crypto/jsonb/read.ts"
import { objectOf } from "../../crypto/jsonb/value.ts"
import { invalid } from "../object.ts"
import { readSmallEnvelope } from "../signed.ts"

/**
 * The type of a message: the name of the one object in its payload. What ContentMetaData says is not signed.
 * @throws GatewayError MESH_OBJECT_INVALID for what is encrypted: nobody could say whether it may come in; as `readSmallEnvelope`
 */
export function messageTypeOf(message: Uint8Array): string {
  const { header, payload } = readSmallEnvelope(message)
  if (header.encryption !== null && header.encryption !== "none") throw invalid("message is encrypted")
  const [first, ...more] = objectOf(readJson(payload), "message").members
  if (first === undefined || more.length > 0) throw invalid("message is not one object")
  return first[0]
}
