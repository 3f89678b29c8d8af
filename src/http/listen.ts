import { GatewayError } from "../errors.ts"

interface Listening {
  listen(options: { host: string; port: number; reusePort: boolean }): Promise<string>
}

/** Where a server listens. */
export interface ListenAt {
  readonly host: string
  readonly port: number
  /** Others listen there too, and the system gives each its share of the connections. */
  readonly sharesPort?: boolean
}

/** @throws GatewayError LISTEN_FAILED naming listener and address */
export async function listenOn(
  server: Listening,
  { host, port, sharesPort = false }: ListenAt,
  listener: string,
): Promise<void> {
  try {
    await server.listen({ host, port, reusePort: sharesPort })
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new GatewayError("LISTEN_FAILED", `${listener}: cannot listen on ${host}:${port}: ${reason}`, { cause })
  }
}
