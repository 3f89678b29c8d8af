#!/usr/bin/env node
// Plain JavaScript that any Node can read: it finds Node 24 or newer (the npm package `node` brings one) and the program, which is
// TypeScript in a checkout (Node strips the types) and JavaScript in an installed package (Node strips none under node_modules).
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import * as modules from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const source = join(root, "src", "main.ts")
const program = existsSync(source) ? source : join(root, "dist", "main.js")
const major = Number(process.versions.node.split(".")[0])

// What a process has compiled the next one finds compiled, and so do threads and processes that this one starts: half of a command's time is
// reading the program. In the environment, and before the first line of TypeScript, for which each thread would load the compiler. Beside the
// program, not in /tmp: whoever can write there can change the program as well. Where nothing can be written, nothing is kept.
const cache = process.env.NODE_COMPILE_CACHE || join(root, "node_modules", ".cache", "postern")
process.env.NODE_COMPILE_CACHE = cache

if (major >= 24) {
  modules.enableCompileCache(cache)
  await import(pathToFileURL(program).href)
} else {
  const node = packagedNode()
  if (!node) {
    process.stderr.write(
      `postern: needs Node 24 or newer, this is ${process.version}, and the npm package "node" is not installed\n`,
    )
    process.exit(1)
  }
  const child = spawn(node, [program, ...process.argv.slice(2)], { stdio: "inherit" })
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal))
  child.on("exit", (code, signal) => process.exit(code ?? (signal ? 1 : 0)))
}

function packagedNode() {
  try {
    const folder = dirname(modules.createRequire(import.meta.url).resolve("node/package.json"))
    const binary = join(folder, "bin", process.platform === "win32" ? "node.exe" : "node")
    return existsSync(binary) ? binary : null
  } catch {
    return null
  }
}
