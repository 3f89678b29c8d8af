import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import type { Server, Socket } from "node:net"
import { join } from "node:path"
import { peer, peerPath, type TemporaryFolder, temporaryFolder } from "./peers.ts"

/** What the test asks of the process inside. */
export interface Asked {
  readonly id: number
  readonly kind: "listen" | "connect"
  readonly address: string
  readonly port: number
  readonly from?: string
}

/** Its answer, with a handle where it opened something; `pid` is the first. */
export interface Told {
  readonly id: number
  readonly pid?: number
  readonly failed?: string
}

/**
 * Whether this process may make network, mount and process namespaces, and give programs users of their own: root may, unless it is
 * confined. Where not, it is a visible skip everywhere.
 */
export const internetPossible =
  peer("ip") &&
  process.getuid?.() === 0 &&
  spawnSync("unshare", [...unshared("--kill-child"), "true"], { timeout: 10_000 }).status === 0

/**
 * A network of the test's own in which all of 11.0.0.0/8 and 2a0e::/32 can be listened on, port 25 included. Only 11.0.0.1 and 2a0e::1
 * are addresses of an interface: whoever runs there takes the others for other people's. Nothing leads out of it.
 */
export class Internet implements AsyncDisposable {
  readonly folder: TemporaryFolder
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, PromiseWithResolvers<Server | Socket>>()
  #pid = 0
  #asked = 0

  private constructor(folder: TemporaryFolder, child: ChildProcess) {
    this.folder = folder
    this.#process = child
    child.on("message", (told: Told, handle) => this.#take(told, handle as Server | Socket | undefined))
  }

  static async open(): Promise<Internet> {
    const folder = await temporaryFolder()
    const door = join(import.meta.dirname, "internet-door.ts")
    const child = spawn("unshare", [...unshared("--kill-child"), process.execPath, door, folder.path], {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      env: { ...process.env, PATH: peerPath() },
    })
    let said = ""
    child.stderr?.on("data", (octets) => {
      said += octets
    })
    const internet = new Internet(folder, child)
    const ended = once(child, "exit").then(() => Promise.reject(new Error(`internet: ${said}`)))
    await Promise.race([ended, internet.#wait(0)])
    ended.catch(() => undefined)
    return internet
  }

  /** The words in front of a command that let it run in this network; the program is the process that was spawned, and gets its signals. */
  get inside(): readonly string[] {
    return ["nsenter", "--target", String(this.#pid), "--net"]
  }

  /** The same for what asks the system's resolver, or leaves processes behind: they end with this network. */
  get deepInside(): readonly string[] {
    return [...this.inside, "--mount", "--pid"]
  }

  /** A listener there; `listen` of any server takes it as a handle. */
  async listen(address: string, port = 25): Promise<Server> {
    return (await this.#ask({ kind: "listen", address, port })) as Server
  }

  /** A connection there, nothing of it read yet. `from`: the address it comes from. */
  async connect(address: string, port = 25, from?: string): Promise<Socket> {
    return (await this.#ask({ kind: "connect", address, port, ...(from === undefined ? {} : { from }) })) as Socket
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#process, "exit")
    this.#process.kill("SIGKILL")
    await ended
    await this.folder[Symbol.asyncDispose]()
  }

  #ask(asked: Omit<Asked, "id">): Promise<Server | Socket> {
    const id = ++this.#asked
    const answer = this.#wait(id)
    this.#process.send({ ...asked, id } satisfies Asked)
    return answer
  }

  #wait(id: number): Promise<Server | Socket> {
    const waiting = Promise.withResolvers<Server | Socket>()
    this.#waiting.set(id, waiting)
    return waiting.promise
  }

  #take({ id, pid, failed }: Told, handle: Server | Socket | undefined): void {
    if (pid !== undefined) this.#pid = pid
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (failed !== undefined) waiting?.reject(new Error(`internet: ${failed}`))
    else waiting?.resolve(handle as Server | Socket)
  }
}

function unshared(...more: readonly string[]): string[] {
  return ["--net", "--mount", "--pid", "--fork", ...more]
}
