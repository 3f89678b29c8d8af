/** PURE */

/** What a service can be asked (draft-hallambaker-mesh-protocol, generation 2024's names). How it is asked is ours: docs/MESH.md, "The service". */
export const OPERATIONS = [
  "Hello",
  "BindAccount",
  "UnbindAccount",
  "Connect",
  "Complete",
  "Status",
  "Download",
  "Transact",
  "Post",
  "PublicRead",
  "Claim",
  "PollClaim",
  "Operate",
] as const

export type Operation = (typeof OPERATIONS)[number]

/** The binding that is spoken here. A request that says another version is refused as `Unsupported`. */
export const BINDING_VERSION = 1

/** What came of a request, as StatusDescription has it, and its Status. Several words share a number; who does not know a word goes by the number. */
export const OUTCOMES = {
  Success: 201,
  /** A member of the request is missing, or is not what it should be. */
  Malformed: 400,
  Unsigned: 401,
  Forged: 401,
  Old: 401,
  Future: 401,
  Replayed: 401,
  /** Default deny; the reason is in `Reason`, where there is one to tell. */
  Refused: 403,
  NotAuthorized: 403,
  DeviceUnknown: 403,
  DeviceRevoked: 403,
  AccountUnknown: 404,
  NotFound: 404,
  /** A store is not where the request says. */
  Conflict: 409,
  TooLarge: 413,
  OtherTarget: 421,
  /** An operation, a version or a kind of message that is not served. */
  Unsupported: 422,
  /** Proof of work is asked for first: `Challenge`. */
  Admission: 428,
  TooMany: 429,
  /** Nothing was done; the same may be asked again. */
  Later: 503,
} as const

export type Outcome = keyof typeof OUTCOMES

/** @returns what a word and a number come to; a word that is not known is what its number is */
export function outcomeOf(description: string, status: number): Outcome {
  const words = Object.keys(OUTCOMES) as Outcome[]
  const word = words.find((one) => one === description)
  if (word !== undefined && OUTCOMES[word] === status) return word
  if (status >= 500 || status === OUTCOMES.TooMany) return "Later"
  return "Refused"
}
