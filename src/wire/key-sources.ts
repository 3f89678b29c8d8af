import type { Config, DirectoryConfig } from "../config/config.ts"
import { readNamed, readSecretText } from "../config/load.ts"
import { dnsClient } from "../net/dns-client.ts"
import type { AskWeb } from "../net/web.ts"
import type { KeySource } from "../profiles/key.ts"
import { autocryptSource } from "../profiles/sources/autocrypt.ts"
import { daneSources } from "../profiles/sources/dane.ts"
import { type HarvestedKey, harvestedSource } from "../profiles/sources/harvested.ts"
import { hkps } from "../profiles/sources/hkps.ts"
import { ldapSource } from "../profiles/sources/ldap.ts"
import { mailProfile, type SeenProfiles } from "../profiles/sources/mail-profile.ts"
import { pinnedSource } from "../profiles/sources/pinned.ts"
import { vks } from "../profiles/sources/vks.ts"
import { wkd } from "../profiles/sources/wkd.ts"
import type { MailKeys } from "../store/mail-keys.ts"
import type { PinnedCertificates } from "../store/pinned-certificates.ts"

/** What sources stand on. */
export interface SourceParts {
  readonly config: Pick<Config, "keys" | "dns" | "mesh">
  readonly pins: Pick<PinnedCertificates, "of">
  readonly mail: Pick<MailKeys, "peer" | "harvested">
  readonly profiles: SeenProfiles
  readonly ask: AskWeb
  readonly now: () => Date
}

/** The sources that the configuration names, most believed first; what they hold open is ended with `stack`. */
export function keySources(parts: SourceParts, stack: DisposableStack): readonly KeySource[] {
  const { keyservers, directories, sources } = parts.config.keys
  return [
    ...sources.flatMap((name) => namedSources(name, parts)),
    ...directories.map((directory) => stack.use(ldapSource(directoryOf(directory)))),
    ...keyservers.map(({ protocol, host, port }) => {
      const server = { host: port === null ? host : `${host}:${port}`, ask: parts.ask, now: parts.now }
      return protocol === "vks" ? vks(server) : hkps(server)
    }),
  ]
}

function namedSources(
  name: Config["keys"]["sources"][number],
  { config, pins, mail, profiles, ask, now }: SourceParts,
): readonly KeySource[] {
  switch (name) {
    case "pinned":
      return [pinnedSource(pins)]
    case "profile":
      return [mailProfile({ ask, seen: profiles, byMesh: config.mesh.service !== null, now })]
    case "wkd":
      return [wkd(ask)]
    case "dane":
      return daneSources(dnsClient(config.dns.servers))
    case "autocrypt":
      return [autocryptSource(mail)]
    case "harvested":
      return [harvestedSource({ harvested: (address) => mail.harvested(address).flatMap(keyOf) })]
    default:
      return name satisfies never
  }
}

/** What another version wrote and this one does not know is no key. */
function keyOf(row: ReturnType<MailKeys["harvested"]>[number]): readonly HarvestedKey[] {
  const { format } = row
  return format === "smime" || format === "openpgp" ? [{ ...row, format }] : []
}

function directoryOf({ name, endpoint, domains, base, filter, caFile, login }: DirectoryConfig) {
  const { host, port, security } = endpoint
  const authorities = caFile === null ? null : readNamed(caFile, "authority")
  return {
    name,
    domains,
    base,
    filter,
    server: { host, port, security, authorities },
    login: login && { dn: login.user, password: () => readSecretText(login.password) },
  }
}
