import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { mustRun } from "../harness/peers.ts"
import { freeRange } from "../harness/ports.ts"
import { ownProcess as postern } from "./postern.ts"

test("each command is found by its own name alone, behind options too", async () => {
  const { stdout } = await postern(["--help"])
  const names = [
    ...Buffer.from(stdout)
      .toString()
      .matchAll(/^ {2}([a-z]+)[ [].* {2}\S/gm),
  ].map(([, name]) => name)
  expect(names.length).toBeGreaterThan(12)
  // In one process: fifteen starts would take seconds.
  const program = `import { buildProgram } from "./src/cli/program.ts"
    for (const name of ${JSON.stringify(names.filter((name) => name !== "help"))})
      if ((await buildProgram({}).run(["--config", "account", name, "--help"])) !== 0) throw new Error(name)`
  const help = Buffer.from(await mustRun(process.execPath, ["--input-type=module", "-e", program])).toString()
  expect([...help.matchAll(/^Usage: postern ([a-z]+)/gm)].map(([, name]) => name)).toEqual(
    names.filter((name) => name !== "help"),
  )
})

const rows: [line: string, code: number, stdout: RegExp, stderr: RegExp][] = [
  ["nonsense", 2, /^$/, /unknown command 'nonsense'/],
  ["acount list", 2, /^$/, /Did you mean account\?/],
  ["help alias", 0, /^Usage: postern alias/, /^$/],
  ["--version", 0, /^\d+\.\d+\.\d+\n$/, /^$/],
  ["alias add --help", 0, /^Usage: postern alias add/, /^$/],
]
test("what names no command is answered by all of them", async () => {
  const answers = await Promise.all(rows.map(([line]) => postern(line.split(" "))))
  for (const [index, { code, stdout, stderr }] of answers.entries()) {
    const [line, wanted, out, error] = rows[index] ?? ["", 0, /^/, /^/]
    expect([line, code, Buffer.from(stdout).toString(), stderr]).toEqual([
      line,
      wanted,
      expect.stringMatching(out),
      expect.stringMatching(error),
    ])
  }
})

test("a demonstration whose port somebody has says how to have others, also when it was made before", async () => {
  const folder = mkdtempSync(join(tmpdir(), "postern-demo-"))
  const [taken, other] = [await freeRange(7), await freeRange(7)]
  const somebody = createServer().listen(taken, "127.0.0.1")
  await once(somebody, "listening")
  try {
    for (const port of [taken, other]) {
      const { code, stdout, stderr } = await postern(["demo", "--port", String(port)], {}, folder)
      expect([code, stderr]).toEqual([
        1,
        expect.stringMatching(/address already in use; for other ports: --fresh --port N\n$/),
      ])
      expect(Buffer.from(stdout).toString().includes(`It listens on port ${taken}`)).toBe(port === other)
    }
  } finally {
    somebody.close()
    rmSync(folder, { recursive: true })
  }
}, 60_000)
