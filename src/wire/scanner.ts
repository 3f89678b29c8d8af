import type { Config } from "../config/config.ts"
import { clamd } from "../scan/clamd.ts"
import { hook } from "../scan/hook.ts"
import { rspamd } from "../scan/rspamd.ts"
import { Scanners } from "../scan/scanners.ts"
import type { Scanner } from "../smtp-in/ports.ts"

/**
 * What looks at the content of arriving mail, as configured.
 * @returns null when nobody does at this kind of listener
 */
export function scannerOf(config: Config, listener: "mx" | "submission"): Scanner | null {
  const { scan, hostname } = config
  const programs = [
    ...(scan.clamd === null ? [] : [clamd(scan.clamd)]),
    ...(scan.rspamd === null ? [] : [rspamd(new URL(scan.rspamd))]),
    ...(scan.hook === null ? [] : [hook(new URL(scan.hook))]),
  ]
  if (programs.length === 0 || !scan.listeners.includes(listener)) return null
  return new Scanners(programs, { ...scan, authservId: hostname })
}
