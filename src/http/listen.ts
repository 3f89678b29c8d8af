import { GatewayError } from "../errors.ts"

interface Listening {
  listen(options: { host: string; port: number }): Promise<string>
}

/** @throws GatewayError LISTEN_FAILED naming listener and address */
export async function listenOn(server: Listening, host: string, port: number, listener: string): Promise<void> {
  try {
    await server.listen({ host, port })
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new GatewayError("LISTEN_FAILED", `${listener}: cannot listen on ${host}:${port}: ${reason}`, { cause })
  }
}
