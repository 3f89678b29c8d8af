/** What is done with a command after login. Whatever is not listed is answered BAD: an unknown command could carry message data. */
export type Treatment =
  | "forward"
  | "logout"
  /** Answered by the proxy. */
  | "capability"
  | "id"
  | "enable"
  | "select"
  | "idle"
  | "fetch"
  | "append"

export interface AllowedCommand {
  readonly treatment: Treatment
  /** Changes the store: refused to read-only devices. */
  readonly writes: boolean
}

/** @returns null for a command that is not let through. */
export function allowedCommand(name: string): AllowedCommand | null {
  const base = name.startsWith("UID ") ? name.slice(4) : name
  if (base !== name && !UID_FORMS.includes(base)) return null
  const treatment = ALLOWED.get(base)
  return treatment === undefined ? null : { treatment, writes: WRITES.includes(base) }
}

const READS = [
  "NOOP",
  "CHECK",
  "LIST",
  "LSUB",
  "NAMESPACE",
  "STATUS",
  "SEARCH",
  "SORT",
  "THREAD",
  "GETQUOTA",
  "GETQUOTAROOT",
  "GETACL",
  "MYRIGHTS",
  "LISTRIGHTS",
]
const WRITES: readonly string[] = [
  "APPEND",
  "STORE",
  "EXPUNGE",
  "COPY",
  "MOVE",
  "CREATE",
  "DELETE",
  "RENAME",
  "SUBSCRIBE",
  "UNSUBSCRIBE",
  "SETQUOTA",
  "SETACL",
  "DELETEACL",
]
const UID_FORMS: readonly string[] = ["FETCH", "STORE", "COPY", "MOVE", "SEARCH", "SORT", "THREAD", "EXPUNGE"]
const ALLOWED: ReadonlyMap<string, Treatment> = new Map<string, Treatment>([
  ...READS.map((name): [string, Treatment] => [name, "forward"]),
  ...WRITES.map((name): [string, Treatment] => [name, "forward"]),
  ["APPEND", "append"],
  ["FETCH", "fetch"],
  ["SELECT", "select"],
  ["EXAMINE", "select"],
  ["CLOSE", "select"],
  ["UNSELECT", "select"],
  ["IDLE", "idle"],
  ["ENABLE", "enable"],
  ["ID", "id"],
  ["CAPABILITY", "capability"],
  ["LOGOUT", "logout"],
])
