#!/usr/bin/env node
// Plain JavaScript that any Node can read: it finds Node 24 or newer (the npm package `node` brings one) and the program, which is
// TypeScript in a checkout (Node strips the types) and JavaScript in an installed package (Node strips none under node_modules).
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const source = join(root, "src", "main.ts")
const program = existsSync(source) ? source : join(root, "dist", "main.js")
const major = Number(process.versions.node.split(".")[0])

if (major >= 24) {
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
    const folder = dirname(createRequire(import.meta.url).resolve("node/package.json"))
    const binary = join(folder, "bin", process.platform === "win32" ? "node.exe" : "node")
    return existsSync(binary) ? binary : null
  } catch {
    return null
  }
}
