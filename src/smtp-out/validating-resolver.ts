import { recordsOf, sameName } from "../net/dns-alias.ts"
import type { AnyAnswer, Ask, RecordType } from "../net/dns-client.ts"
import type { Answer, Resolver } from "./hop.ts"

/** Mail routing by servers that validate DNSSEC and are reached over a path that nobody else has a hand on: their AD bit is believed. */
export function validatingResolver(ask: Ask): Resolver {
  return {
    mx: (domain) =>
      records(ask, domain, "MX", (answer) =>
        answer.type === "MX" ? { exchange: answer.data.exchange, preference: answer.data.preference ?? 0 } : null,
      ),
    async addresses(host) {
      const [six, four] = await Promise.all([
        records(ask, host, "AAAA", (answer) => (answer.type === "AAAA" ? answer.data : null)),
        records(ask, host, "A", (answer) => (answer.type === "A" ? answer.data : null)),
      ])
      const found = [...six.records, ...four.records]
      const canonical = four.records.length > 0 ? four.canonical : six.canonical
      const secure = six.secure && four.secure && six.canonical === four.canonical
      return { records: found, secure, canonical: sameName(canonical, host) ? host : canonical }
    },
    tlsa: (name) =>
      records(ask, name, "TLSA", (answer) =>
        answer.type === "TLSA"
          ? {
              usage: answer.data.usage,
              selector: answer.data.selector,
              matchingType: answer.data.matchingType,
              association: answer.data.certificate,
            }
          : null,
      ),
    async isSecureAlias(name) {
      const { answers, authentic } = await ask(name, "CNAME")
      return authentic && answers.some((answer) => answer.type === "CNAME" && sameName(answer.name, name))
    },
    async text(name) {
      const found = await records(ask, name, "TXT", (answer) => (answer.type === "TXT" ? joined(answer.data) : null))
      return found.records
    },
  }
}

async function records<T>(
  ask: Ask,
  name: string,
  type: RecordType,
  read: (answer: AnyAnswer) => T | null,
): Promise<Answer<T> & { readonly canonical: string }> {
  const { answers, authentic } = await ask(name, type)
  const { canonical, records } = recordsOf(name, answers)
  const found = records.flatMap((answer) => {
    const value = read(answer)
    return value === null ? [] : [value]
  })
  return { records: found, secure: authentic, canonical }
}

function joined(data: string | Buffer | readonly (string | Buffer)[]): string {
  return [data]
    .flat()
    .map((part) => (typeof part === "string" ? part : part.toString("latin1")))
    .join("")
}
