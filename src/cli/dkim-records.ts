import { Resolver } from "node:dns/promises"
import { join } from "node:path"
import type { Config } from "../config/config.ts"
import { keyRecord, keyRecordName, type Published, publishedAs, zoneText } from "../mime/dkim-record.ts"
import { type DkimKey, DkimKeys } from "../store/dkim-keys.ts"
import { signingKeyState } from "../store/signing-folder.ts"
import type { DnsRecord } from "./dns-records.ts"

/** What becomes of a key's record. */
export interface KeyRecord extends DnsRecord {
  readonly selector: string
  readonly act: "publish" | "remove"
  /** The whole text, for panels that quote and split by themselves. */
  readonly text: string
}

/** The signing keys of an instance, to be read. */
export function dkimKeysOf(config: Config): DkimKeys {
  return new DkimKeys(keyFolder(config))
}

/** Where they are. */
export function keyFolder({ secrets }: Config): string {
  return join(secrets, "dkim")
}

/** The TXT record of each key (RFC 6376 §3.6.2), and whether it belongs into DNS. */
export function keyRecords(keys: readonly DkimKey[], config: Config, now: Date): readonly KeyRecord[] {
  return keys.map((key) => {
    const until = neededUntil(key, config)
    const text = keyRecord(key)
    return {
      name: `${keyRecordName(key.domain, key.selector)}.`,
      type: "TXT",
      value: zoneText(text),
      about: `DKIM, ${key.algorithm}, ${signingKeyState(key)}${until === null ? "" : `, until ${day(until)}`}`,
      selector: key.selector,
      act: until !== null && until <= now ? "remove" : "publish",
      text,
    }
  })
}

/** Until when the record of a retired key is needed; null: it is not retired. */
export function neededUntil({ retiredAt }: DkimKey, { limits }: Config): Date | null {
  return retiredAt === null ? null : new Date(retiredAt.getTime() + limits.queueLifetimeMs + ON_ITS_WAY_MS)
}

/**
 * What DNS has of a key, by the configured servers or the system's.
 * @returns null when there is no answer
 */
export async function askPublished(key: DkimKey, config: Config): Promise<Published | null> {
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: 2 })
  if (config.dns.servers.length > 0) resolver.setServers(config.dns.servers)
  try {
    const records = await resolver.resolveTxt(keyRecordName(key.domain, key.selector))
    return publishedAs(
      records.map((strings) => strings.join("")),
      key,
    )
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : null
    return code === "ENODATA" || code === "ENOTFOUND" ? "absent" : null
  }
}

/** What an answer of {@link askPublished} means, for people. */
export const PUBLISHED_TEXT: Readonly<Record<Published, string>> = {
  published: "is in DNS",
  absent: "is not in DNS",
  revoked: "is revoked in DNS (its p= is empty)",
  differs: "is not what DNS has",
  several: "is not alone in DNS: one TXT record is allowed",
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10)
}

/** After the last attempt of ours the message may lie at another server for days, and then be read for the first time. */
const ON_ITS_WAY_MS = 7 * 86_400_000
const DNS_TIMEOUT_MS = 3_000
