import { parseAddress } from "../message/address.ts"
import type { Reports } from "../pipeline/ports.ts"
import { TlsReporter } from "../smtp-out/tls-reporter.ts"
import { KeptTlsResults } from "../store/tls-results.ts"
import type { Core } from "./core.ts"
import { resolverOf } from "./hops.ts"
import { startRounds } from "./rounds.ts"

/** Reports are daily, and most rounds find nothing. */
const FIRST_MS = 1e3
const EVERY_MS = 900e3

/** Sends reports of TLS-RPT from time to time, until it is disposed of; none where the configuration does not want it. */
export function startTlsReports(core: Core, reports: Reports): AsyncDisposable {
  const { config, database, now, log } = core
  const [organization = config.hostname] = config.domains
  const results = new KeptTlsResults(database)
  const reporter = new TlsReporter({
    results,
    resolver: resolverOf(config),
    organization,
    hostname: config.hostname,
    postmaster: parseAddress(`postmaster@${organization}`),
    submit: (mail) => reports.submit(mail),
    now,
    log,
  })
  core.counters.gauge("postern_tls_sessions_today", "Sessions with mail exchangers since 00:00 UTC.", "result", () =>
    database.isOpen ? results.sessions(now().toISOString().slice(0, 10)) : {},
  )
  return startRounds({
    firstMs: FIRST_MS,
    everyMs: EVERY_MS,
    round: async (signal) => {
      if (config.tlsReports) await reporter.send(signal)
    },
    onError: (error) => log.error("tls-report.failed", {}, error),
  })
}
