import type { FastifyServerOptions } from "fastify"
import { GatewayError } from "../errors.ts"

/**
 * For servers whose routes have no JSON schemas: without it Fastify loads a validator and a serializer (Ajv and what it brings: 110 modules,
 * a tenth of a start) that nothing asks for.
 */
export const NO_SCHEMAS: NonNullable<FastifyServerOptions["schemaController"]> = {
  compilersFactory: { buildValidator: refuse, buildSerializer: refuse },
}

function refuse(): never {
  throw new GatewayError("USAGE", "http: a route has a schema, and this server none to check it")
}
