import type { Config, Endpoint, RelayConfig, TransportRule } from "../config/config.ts"
import { readSecretText } from "../config/load.ts"
import { dnsClient } from "../net/dns-client.ts"
import type { Relay as RelayPort, Result } from "../pipeline/ports.ts"
import { isOwnAddress, plainResolver } from "../smtp-out/dns.ts"
import type { Hop, HostHop, Resolver } from "../smtp-out/hop.ts"
import type { Relay } from "../smtp-out/relay.ts"
import { validatingResolver } from "../smtp-out/validating-resolver.ts"

/** Mail for other domains, over SMTP. */
export function smtpRelay(relay: Relay, hopFor: (domain: string) => Hop): RelayPort {
  return {
    async send(message, envelope, recipient, { verified, signal }): Promise<Result> {
      const usual = hopFor(recipient.address.domain)
      const hop = verified ? verifiedHop(usual) : usual
      if (hop === null) return { kind: "hold", reason: UNVERIFIABLE, told: true }
      const outcome = await relay.relayMessage(
        {
          sender: envelope.sender,
          recipient: recipient.address,
          smtpUtf8: envelope.smtpUtf8,
          ...(envelope.requireTls ? { requireTls: true } : {}),
          envelopeId: envelope.envelopeId,
          returnContent: envelope.returnContent,
          notify: recipient.notify,
          originalRecipient: recipient.originalRecipient,
          sizeOctets: message.sizeOctets,
          content: () => message.content(),
        },
        hop,
        signal,
      )
      return outcome.kind === "relayed" ? { ...outcome, kind: "done" } : outcome
    },
  }
}

/** The same hop, but only over TLS with a verified name. @returns null where what is behind it cannot be known: a next hop of ours is not the recipient's. */
function verifiedHop(hop: Hop): Hop | null {
  if (hop.kind !== "mx") return null
  return { ...hop, level: { tls: hop.level?.tls === "dane" ? "dane" : "required", mx: hop.level?.mx ?? [] } }
}

/** The next hop for a domain, as configured. */
export function hopsOf(config: Config): (domain: string) => Hop {
  const resolver = resolverOf(config)
  const rest = hopMaker(config.relay, null, resolver)
  const rules = config.transportRules.map((rule) => ({ rule, hop: hopMaker(rule.next, rule, resolver) }))
  return (domain) => (mostSpecific(domain, rules)?.hop ?? rest)(domain)
}

/** DNS about where mail goes, as configured. */
export function resolverOf({ dns }: Pick<Config, "dns">): Resolver {
  return dns.validating ? validatingResolver(dnsClient(dns.servers)) : plainResolver(dns.servers)
}

function hopMaker(next: RelayConfig, level: TransportRule | null, resolver: Resolver): (domain: string) => Hop {
  if (next.kind === "mx")
    return (domain) => ({ kind: "mx", domain, resolver, isOurs: isOwnAddress, ...(level === null ? {} : { level }) })
  const { endpoint, login } = next
  const hop = hostHop(endpoint, login && { username: login.user, password: readSecretText(login.password) })
  return () => hop
}

/** The rule of the domain itself, else the one of the nearest domain above it. */
function mostSpecific<T extends { readonly rule: { readonly domain: string } }>(
  domain: string,
  rules: readonly T[],
): T | null {
  const name = domain.toLowerCase()
  const fitting = rules.filter(({ rule }) =>
    rule.domain.startsWith("*.") ? name.endsWith(rule.domain.slice(1)) : name === rule.domain,
  )
  const exact = fitting.find(({ rule }) => !rule.domain.startsWith("*."))
  return exact ?? fitting.sort((a, b) => b.rule.domain.length - a.rule.domain.length)[0] ?? null
}

/** Such a server as next hop. */
export function hostHop(
  endpoint: Endpoint,
  auth: { readonly username: string; readonly password: string } | null,
): HostHop {
  if (endpoint.kind === "unix") throw new Error("relay.next is never a Unix socket")
  const tls = { tls: "implicit", starttls: "required", plain: "opportunistic" } as const
  return {
    kind: "host",
    host: endpoint.host,
    port: endpoint.port,
    tls: tls[endpoint.security],
    ...(auth ? { auth } : {}),
  }
}

const UNVERIFIABLE = "policy wants TLS to the recipient's own server, and mail leaves by another (relay.next)"
