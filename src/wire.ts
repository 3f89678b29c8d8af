import type { Config } from "./config/config.ts"
import { GatewayError } from "./errors.ts"
import type { ScannerFinding } from "./scan/decide.ts"
import { ROLES, type Role } from "./wire/core.ts"
import type { DemoOptions } from "./wire/demo.ts"
import type { UpstreamTrial } from "./wire/try-upstream.ts"

// Each loads only what it runs: the demonstration's parts are half of everything.

/** Runs the roles until a signal ends them. @returns the exit code */
export async function serve(configPath: string | null, roles: readonly string[] | null): Promise<number> {
  const { runServer } = await import("./wire/serve.ts")
  return runServer(configPath, rolesOf(roles))
}

/** Makes and runs the demonstration instance. @returns the exit code */
export async function demo(options: DemoOptions): Promise<number> {
  const { runDemo } = await import("./wire/demo.ts")
  return runDemo(options)
}

/** Logs in at the IMAP server behind the proxy, and says what it offers. */
export async function tryUpstream(config: Config, account: string): Promise<UpstreamTrial> {
  const { logInUpstream } = await import("./wire/try-upstream.ts")
  return logInUpstream(config, account)
}

/** Shows every scanner a message with nothing in it. */
export async function tryScanners(config: Config): Promise<readonly ScannerFinding[]> {
  const { showScanners } = await import("./wire/try-scanners.ts")
  return showScanners(config)
}

function rolesOf(names: readonly string[] | null): ReadonlySet<Role> {
  if (names === null) return new Set(ROLES)
  return new Set(
    names.map((name) => {
      const role = ROLES.find((candidate) => candidate === name)
      if (!role) throw new GatewayError("USAGE", `role ${JSON.stringify(name)}: unknown; there are ${ROLES.join(", ")}`)
      return role
    }),
  )
}
