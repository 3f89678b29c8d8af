import { spawnSync } from "node:child_process"
import { once } from "node:events"
import { readlinkSync, writeFileSync } from "node:fs"
import { createServer, Socket } from "node:net"
import { join } from "node:path"
import type { Asked, Told } from "./internet.ts"

/**
 * The first process of an {@link ./internet.ts Internet}: makes its network, then opens sockets in it for the test, which get there as
 * handles. Ends with the test, and everything in its process namespace with it.
 */
const [folder = ""] = process.argv.slice(2)
const must = (command: string, args: readonly string[], input = ""): void => {
  const { status, stderr, error } = spawnSync(command, args, { input })
  if (error) throw error
  if (status !== 0) throw new Error(`${command}: exit ${status}: ${stderr}`)
}

// AnyIP: every address of these networks is this machine's without being an interface's, so that a gateway does not take it for its own.
must(
  "ip",
  ["-batch", "-"],
  `link set lo up
addr add 11.0.0.1/32 dev lo
route add local 11.0.0.0/8 dev lo src 11.0.0.1
addr add 2a0e::1/128 dev lo nodad
route add local 2a0e::/32 dev lo
`,
)
writeFileSync("/proc/sys/net/ipv6/ip_nonlocal_bind", "1")
// For Postfix, which asks the system's resolver; the mount is this namespace's own.
const resolver = join(folder, "resolv.conf")
writeFileSync(resolver, "nameserver 127.0.0.1\noptions trust-ad\n")
must("mount", ["--bind", resolver, "/etc/resolv.conf"])

const tell = (told: Told): void => {
  process.send?.(told)
}

process.on("message", (asked: Asked) => {
  answer(asked).catch((error: unknown) => tell({ id: asked.id, failed: String(error) }))
})
process.on("disconnect", () => process.exit(0))

async function answer({ id, kind, address, port, from }: Asked): Promise<void> {
  if (kind === "listen") {
    const server = createServer().listen(port, address)
    await once(server, "listening")
    process.send?.({ id } satisfies Told, server, {}, () => server.close())
    return
  }
  const socket = new Socket()
  // What the server says first is for whoever gets the socket.
  socket.pause()
  socket.connect({ host: address, port, ...(from === undefined ? {} : { localAddress: from }) })
  await once(socket, "connect")
  process.send?.({ id } satisfies Told, socket)
}

// Without a mount of its own, /proc shows the outer namespace, and there this process has the number that others know it by.
tell({ id: 0, pid: Number(readlinkSync("/proc/self")) })
