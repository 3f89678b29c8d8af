/**
 * Emits JavaScript for the packed package: Node strips no types under node_modules. Types are removed in place (nothing else
 * changes, so line numbers stay true) and `.ts` import paths become `.js`.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { stripTypeScriptTypes } from "node:module"
import { dirname, join } from "node:path"

const IMPORT_PATH = /((?:from|import)\s*\(?\s*"\.{1,2}\/[^"]*)\.ts"/g

rmSync("dist", { recursive: true, force: true })
let count = 0
for (const file of readdirSync("src", { recursive: true, encoding: "utf8" })) {
  const target = join("dist", file.replace(/\.ts$/, ".js"))
  if (file.endsWith(".ts")) {
    mkdirSync(dirname(target), { recursive: true })
    const code = stripTypeScriptTypes(readFileSync(join("src", file), "utf8"), { mode: "strip" })
    writeFileSync(target, code.replace(IMPORT_PATH, '$1.js"'))
    count++
  } else if (/\.[a-z]+$/.test(file)) {
    mkdirSync(dirname(target), { recursive: true })
    cpSync(join("src", file), target)
  }
}
console.error(`dist: ${count} modules`)
