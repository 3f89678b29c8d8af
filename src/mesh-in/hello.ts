import { MAX_MESSAGE_OCTETS } from "../mesh/mail/statement.ts"
import { REQUEST_LIFE_MS } from "../mesh/protocol/check.ts"
import { BINDING_VERSION, type Operation } from "../mesh/protocol/operation.ts"
import { MAX_REQUEST_OCTETS } from "../mesh/protocol/request.ts"
import { done } from "./reply.ts"
import type { Handle, OwnService } from "./service.ts"

/** Says what this is, and what it does. `operations`: beside Hello itself. */
export function helloOf({ profile }: OwnService, operations: readonly string[]): Handle {
  return () =>
    done({
      EnvelopedProfileService: profile.envelope,
      Version: { Major: BINDING_VERSION, Minor: 0, Encodings: ["json", "json-b"] },
      Operations: ["Hello" satisfies Operation, ...operations],
      MaximumRequest: MAX_REQUEST_OCTETS,
      MaximumMessage: MAX_MESSAGE_OCTETS,
      RequestLife: REQUEST_LIFE_MS / 1000,
    })
}
