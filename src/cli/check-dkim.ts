import type { Config } from "../config/config.ts"
import { GatewayError } from "../errors.ts"
import type { DkimKey } from "../store/dkim-keys.ts"
import { signingKeyState } from "../store/signing-folder.ts"
import { type Finding, note, ok, wrong } from "./check-finding.ts"
import { askPublished, dkimKeysOf, neededUntil, PUBLISHED_TEXT } from "./dkim-records.ts"

/** Whether the signing keys of a domain can sign. */
export function dkimFiles(domain: string, config: Config): readonly Finding[] {
  const keys = dkimKeysOf(config)
  try {
    const all = keys.of(domain)
    if (!all.some((key) => signingKeyState(key) === "active"))
      return [note(`DKIM of ${domain}`, `no key is active, mail leaves unsigned: postern dkim ${next(all, domain)}`)]
    return all.map((key) => {
      keys.signer(key)
      return ok(about(key), `${signingKeyState(key)}, ${key.algorithm}`)
    })
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    return [wrong(`DKIM of ${domain}`, `${error.message}; mail of the domain waits`)]
  }
}

/** Whether DNS has what verifiers need of them. */
export async function dkimDns(domain: string, config: Config): Promise<readonly Finding[]> {
  try {
    return await Promise.all(
      dkimKeysOf(config)
        .of(domain)
        .map((key) => recordOf(key, config)),
    )
  } catch (error) {
    // Said by dkimFiles.
    if (error instanceof GatewayError) return []
    throw error
  }
}

async function recordOf(key: DkimKey, config: Config): Promise<Finding> {
  const found = await askPublished(key, config)
  const record = `record of ${about(key)}`
  if (found === null) return note(record, "no answer from DNS")
  const text = PUBLISHED_TEXT[found]
  const advice = `postern dkim dns ${key.domain}`
  switch (signingKeyState(key)) {
    case "active":
      return found === "published" ? ok(record, text) : wrong(record, `${text}: ${advice}`)
    case "pending":
      return note(record, found === "published" ? `${text}: postern dkim activate ${key.domain}` : `${text}: ${advice}`)
    case "retired":
      return retired(key, record, found !== "absent", config)
  }
}

function retired(key: DkimKey, record: string, there: boolean, config: Config): Finding {
  const until = neededUntil(key, config)
  if (until !== null && until > new Date())
    return there
      ? ok(record, `stays until ${until.toISOString().slice(0, 10)}`)
      : note(record, "is gone before its time")
  const then = `postern dkim remove ${key.domain} ${key.selector}`
  return note(record, there ? `is not needed any more: remove it, then ${then}` : `is gone: ${then}`)
}

function next(all: readonly DkimKey[], domain: string): string {
  return all.some((key) => signingKeyState(key) === "pending") ? `activate ${domain}` : `add ${domain}`
}

function about({ domain, selector }: DkimKey): string {
  return `DKIM key ${selector} of ${domain}`
}
