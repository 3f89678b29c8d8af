import { readFileSync } from "node:fs"
import type { Config } from "../config/config.ts"
import { GatewayError } from "../errors.ts"

/** Certificate chain and key of our listeners, PEM. */
export interface ServerTls {
  readonly certificate: string
  readonly key: string
}

/** @throws GatewayError CONFIG_INVALID naming the file that cannot be read */
export function readServerTls(config: Config): ServerTls {
  return { certificate: read(config.tls.certificate, "tls.certificate"), key: read(config.tls.key, "tls.key") }
}

function read(path: string, key: string): string {
  try {
    return readFileSync(path, "utf8")
  } catch (cause) {
    throw new GatewayError("CONFIG_INVALID", `${key}: cannot read ${path}`, { cause })
  }
}
