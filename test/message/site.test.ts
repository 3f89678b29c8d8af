import { expect, test } from "vitest"
import { siteOf } from "../../src/message/site.ts"

test.each([
  ["example.org", "example.org"],
  ["mail.example.org", "example.org"],
  ["a.b.c.d.example.org", "example.org"],
  ["bbc.co.uk", "bbc.co.uk"],
  ["co.uk", "co.uk"],
  ["x.y.bbc.co.uk", "bbc.co.uk"],
  ["a.hp.de", "hp.de"],
  ["a.kawasaki.jp", "a.kawasaki.jp"],
  ["x.a.kawasaki.jp", "x.a.kawasaki.jp"],
  // A provider's, whoever he gives names below it to.
  ["a.co.com", "co.com"],
  ["somebody.github.io", "github.io"],
  ["b\u00fccher.example.de", "example.de"],
  ["a.xn--bcher-kva.de", "xn--bcher-kva.de"],
  ["org", "org"],
  ["localhost", "localhost"],
  ["[192.0.2.1]", "[192.0.2.1]"],
])("hosts of %s are counted with %s", (domain, site) => expect(siteOf(domain)).toBe(site))
