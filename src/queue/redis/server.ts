import { isIP } from "node:net"
import { Queue, Worker } from "bullmq"
import { Redis, type RedisOptions } from "ioredis"
import type { QueueConfig } from "../../config/config.ts"
import { readNamed, readSecretText } from "../../config/load.ts"
import { readRedisUrl } from "../../config/redis-url.ts"
import { randomOctets } from "../../crypto/primitives/random.ts"
import { GatewayError } from "../../errors.ts"
import type { Log } from "../../log/log.ts"
import { LEASE_MS } from "../work-loop.ts"
import { type Kept, PREFIX, QUEUE } from "./kept.ts"

/** BullMQ's two halves: they are there while the server is. */
export interface Bull {
  readonly redis: Redis
  readonly queue: Queue<Kept>
  readonly worker: Worker<Kept>
}

/** Missing or another: everything was lost, or comes from elsewhere. */
const BORN = `${PREFIX}:born`
/** How long a start and a command wait for the server. */
const CONNECT_MS = 3_000
const COMMAND_MS = 10_000
const LAST_PAUSE_MS = 2_000
/** A server that does not answer is left without a word. */
const GOODBYE_MS = 1_000
/** Jobs of workers that are silent are looked for so often. */
const STALLED_EVERY_MS = 30_000
/** A job is never given up for having stalled: mail is not lost to a counter. */
const NEVER = 1_000_000_000

/** The connection to Redis, through all its absences. */
export class RedisServer implements AsyncDisposable {
  readonly #redis: Redis
  readonly #log: Log
  readonly #returned = new Set<() => void>()
  #bull: Bull | null = null
  #born: string | null = null
  #away = false
  #ending = false

  private constructor(redis: Redis, log: Log) {
    this.#redis = redis
    this.#log = log
    redis.on("error", (error: Error) => this.#missed(error.message))
    redis.on("close", () => this.#missed("connection closed"))
    redis.on("ready", () => void this.#arrived())
  }

  /** Resolves when the server is there, or has not been for some seconds: then it is waited for in the background. */
  static async connect(config: QueueConfig & { readonly kind: "redis" }, log: Log): Promise<RedisServer> {
    const server = new RedisServer(new Redis(optionsOf(config)), log)
    await server.#first()
    return server
  }

  get isThere(): boolean {
    return this.#bull !== null && this.#redis.status === "ready"
  }

  /** @throws GatewayError QUEUE_AWAY */
  get bull(): Bull {
    if (this.#bull === null || this.#redis.status !== "ready")
      throw new GatewayError("QUEUE_AWAY", "queue: Redis does not answer")
    this.#gather()
    return this.#bull
  }

  /** Called when the server is back, or has lost everything: jobs may be missing, and others may be there again. */
  onReturn(act: () => void): void {
    this.#returned.add(act)
  }

  /** Sees whether everything was lost meanwhile. */
  async look(): Promise<void> {
    const born = await this.bull.redis.get(BORN)
    if (this.#born === null || born === this.#born) return
    this.#log.error("queue.wiped", {})
    await this.#settleIn()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending = true
    // Also while the server is away: the worker has a connection of its own, which would try for ever to come about.
    await Promise.race([Promise.all([this.#bull?.worker.close(true), this.#bull?.queue.close()]), goodbye()])
    this.#redis.disconnect()
  }

  /** What is said in one turn of the event loop leaves in one write: else each command is a system call here, and another one there. */
  #gather(): void {
    const { stream } = this.#redis
    if (stream.writableCorked > 0) return
    stream.cork()
    setImmediate(() => stream.uncork())
  }

  #first(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, CONNECT_MS)
      this.#returned.add(() => {
        clearTimeout(timer)
        resolve()
      })
      this.#redis.connect().catch((error: Error) => {
        // ioredis tries again by itself.
        this.#missed(error.message)
        clearTimeout(timer)
        resolve()
      })
    })
  }

  /** Once for each absence. */
  #missed(reason: string): void {
    if (this.#away || this.#ending) return
    this.#away = true
    this.#log.error("queue.away", { reason })
  }

  async #arrived(): Promise<void> {
    try {
      this.#bull ??= bullOn(this.#redis, this.#log)
      await this.#settleIn()
      await this.#advise()
      if (this.#away) this.#log.info("queue.back", {})
      this.#away = false
    } catch (error) {
      this.#log.error("queue.not-opened", {}, error)
    }
  }

  async #settleIn(): Promise<void> {
    const ours = Buffer.from(randomOctets(12)).toString("hex")
    await this.#redis.set(BORN, ours, "NX")
    this.#born = await this.#redis.get(BORN)
    for (const act of this.#returned) act()
  }

  /** What makes Redis forget jobs. The sweep finds them again, but late. */
  async #advise(): Promise<void> {
    try {
      const policy = await this.#setting("maxmemory-policy")
      const appends = await this.#setting("appendonly")
      if (policy !== null && policy !== "noeviction")
        this.#log.warn("queue.evicts", { policy, advice: "set maxmemory-policy noeviction" })
      if (appends === "no") this.#log.warn("queue.not-persistent", { advice: "set appendonly yes" })
    } catch {
      // Rented servers often forbid CONFIG.
    }
  }

  async #setting(name: string): Promise<string | null> {
    const found = await this.#redis.config("GET", name)
    return Array.isArray(found) && typeof found[1] === "string" ? found[1] : null
  }
}

function goodbye(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, GOODBYE_MS).unref())
}

function bullOn(connection: Redis, log: Log): Bull {
  const queue = new Queue<Kept>(QUEUE, {
    connection,
    prefix: PREFIX,
    streams: { events: { maxLen: 100 } },
    defaultJobOptions: { removeOnComplete: true, removeOnFail: false },
  })
  const worker = new Worker<Kept>(QUEUE, null, {
    connection,
    prefix: PREFIX,
    autorun: false,
    lockDuration: LEASE_MS,
    stalledInterval: STALLED_EVERY_MS,
    maxStalledCount: NEVER,
    skipLockRenewal: true,
  })
  const onError = (error: Error): void => log.debug("queue.redis", { reason: error.message })
  queue.on("error", onError)
  worker.on("error", onError)
  return { redis: connection, queue, worker }
}

function optionsOf({ url, password, caFile }: QueueConfig & { readonly kind: "redis" }) {
  const { host, port, user, database, tls } = readRedisUrl(url)
  return {
    host,
    port,
    db: database,
    ...(user === null ? {} : { username: user }),
    ...(password === null ? {} : { password: readSecretText(password) }),
    ...(tls ? { tls: tlsOf(host, caFile) } : {}),
    connectionName: "postern",
    lazyConnect: true,
    connectTimeout: CONNECT_MS,
    commandTimeout: COMMAND_MS,
    // What cannot be said now fails now: accepted mail is in the spool, and waits for nobody.
    enableOfflineQueue: false,
    maxRetriesPerRequest: null,
    retryStrategy: (times: number) => Math.min(100 * times, LAST_PAUSE_MS),
  } satisfies RedisOptions
}

function tlsOf(host: string, caFile: string | null) {
  // A name that is an address is not sent (RFC 6066 §3), but looked for in the certificate all the same.
  const name = isIP(host) === 0 ? { servername: host } : {}
  return caFile === null ? name : { ...name, ca: readNamed(caFile, "CA") }
}
