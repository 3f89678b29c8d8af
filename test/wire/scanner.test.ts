import { describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { scannerOf } from "../../src/wire/scanner.ts"

describe("whose mail is scanned", () => {
  const rows: [scan: string, mx: boolean, submission: boolean][] = [
    ["", false, false],
    ['listeners = ["mx", "submission"]', false, false],
    ['clamd = "clamd:/run/clamav/clamd.ctl"', true, false],
    ['rspamd = "http://127.0.0.1:11333"\nlisteners = ["submission"]', false, true],
    ['hook = "https://hook.example.test/"\nlisteners = ["submission", "mx"]', true, true],
  ]
  test.each(rows)("%j: mx %s, submission %s", (scan, mx, submission) => {
    const config = parseConfig(`domains = ["example.test"]\n[scan]\n${scan}\n`, "/instance/postern.toml")
    expect([scannerOf(config, "mx") !== null, scannerOf(config, "submission") !== null]).toEqual([mx, submission])
  })
})
