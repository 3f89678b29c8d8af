import { expect, test } from "vitest"
import { siteOf } from "../../src/message/site.ts"

test.each([
  ["example.org", "example.org"],
  ["mail.example.org", "example.org"],
  ["a.b.c.d.example.org", "example.org"],
  ["bbc.co.uk", "bbc.co.uk"],
  ["co.uk", "co.uk"],
  ["x.y.bbc.co.uk", "bbc.co.uk"],
  // No registry, however short.
  ["a.hp.de", "hp.de"],
  // Three letters at the end are none of a country's.
  ["a.co.com", "co.com"],
  ["localhost", "localhost"],
  ["[192.0.2.1]", "[192.0.2.1]"],
])("hosts of %s are counted with %s", (domain, site) => expect(siteOf(domain)).toBe(site))
