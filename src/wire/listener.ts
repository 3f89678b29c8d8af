import { written } from "../config/values.ts"

/** One listener as the composition sees it. */
export interface Listener {
  readonly name: string
  /** `host:port`. */
  readonly where: string
  close(graceMs: number, spreadMs?: number): Promise<void>
}

export function named(
  name: string,
  listener: {
    address(): { readonly host: string; readonly port: number }
    close(graceMs: number, spreadMs?: number): Promise<void>
  },
): Listener {
  return {
    name,
    where: written(listener.address()),
    close: (graceMs, spreadMs) => listener.close(graceMs, spreadMs),
  }
}
