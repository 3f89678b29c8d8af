import { describe, expect, test } from "vitest"
import { readVerificationMail, speaksFor } from "../../src/profiles/verification-mail.ts"

const FINGERPRINT = "0123456789abcdef0123456789abcdef01234567"
const OTHER = "89abcdef0123456789abcdef0123456701234567"
const TOKEN = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hI6kL9nO2q"
const HOST = "keys.example"
const KEY = `OpenPGP key: ${FINGERPRINT.toUpperCase()}`
const LINK = `https://${HOST}/verify/${TOKEN}`

describe("the mail of a keyserver", () => {
  const rows: [name: string, texts: readonly string[], isRead: boolean][] = [
    ["in text", [`${KEY}\r\n\r\n    ${LINK}\r\n`], true],
    ["in text and HTML", [`${KEY} ${LINK}`, `<tt>${FINGERPRINT}</tt> <a href="${LINK}">${LINK}</a>`], true],
    ["with its link at the very end", [KEY, LINK], true],
    ["without a link", [`${KEY} https://${HOST}/about`], false],
    ["with another's link", [`${KEY} https://evil.example/verify/${TOKEN}`], false],
    ["with a link to a name that begins alike", [`${KEY} https://${HOST}.evil.example/verify/${TOKEN}`], false],
    ["with a link to another port", [`${KEY} https://${HOST}:8443/verify/${TOKEN}`], false],
    ["with a name before the host", [`${KEY} https://${HOST}@evil.example/verify/${TOKEN}`], false],
    ["with a link in clear", [`${KEY} http://${HOST}/verify/${TOKEN}`], false],
    ["with another path", [`${KEY} https://${HOST}/manage/${TOKEN}`], false],
    ["with more in the path", [`${KEY} ${LINK}/../../upload`], false],
    ["with a query", [`${KEY} ${LINK}?address=x`], false],
    ["with a short token", [`${KEY} https://${HOST}/verify/abc`], false],
    ["with an endless token", [`${KEY} https://${HOST}/verify/${"a".repeat(257)}`], false],
    ["with two links", [`${KEY} ${LINK} https://${HOST}/verify/${"b".repeat(43)}`], false],
    ["whose HTML has another link", [`${KEY} ${LINK}`, `<a href="https://${HOST}/verify/${"b".repeat(43)}">`], false],
    ["about no key", [LINK], false],
    ["about another key", [`OpenPGP key: ${OTHER} ${LINK}`], false],
    ["about ours and another", [`${KEY} ${LINK} ${OTHER}`], false],
    ["about a longer one that holds ours", [`OpenPGP key: ${FINGERPRINT}${FINGERPRINT.slice(0, 24)} ${LINK}`], false],
    ["that names ours in a token only", [`https://${HOST}/verify/${FINGERPRINT}`], false],
    ["that is empty", [], false],
  ]
  for (const [name, texts, isRead] of rows)
    test(`${isRead ? "is read" : "is left to who reads it"}: ${name}`, () => {
      const read = readVerificationMail(texts, { host: HOST, fingerprint: FINGERPRINT })
      expect(read).toEqual(isRead ? { kind: "link", token: TOKEN } : { kind: "other", because: expect.any(String) })
    })
})

test.each([
  ["keys.example", "keys.example", true],
  ["keys.example", "keys.example:8443", true],
  ["openpgp.example", "keys.openpgp.example", true],
  ["example", "keys.example", false],
  ["eys.example", "keys.example", false],
  ["below.keys.example", "keys.example", false],
  ["evil.example", "keys.example", false],
])("%s speaks for %s: %s", (domain, host, does) => {
  expect(speaksFor(domain, host)).toBe(does)
})
