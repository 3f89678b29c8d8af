/** PURE */

/*
 * Default deny (draft-hallambaker-mesh-architecture, "Access control"): a message comes in because of who its sender is to the recipient. Everybody who is not known
 * may ask to be, in one way, and nothing more.
 */

/** Who a sender is to a recipient. Told by the sender's profile, whose signature has been checked, and never by an address or a name alone. */
export type Relation =
  /** The recipient wants nothing of him. */
  | "blocked"
  /** The recipient has accepted him. */
  | "contact"
  /** He has an account of this gateway. */
  | "organisation"
  | "stranger"

/** Whose mail comes in: `mesh.accept`. Who is blocked is not among everybody. */
export type Accepted = "contacts" | "organisation" | "everybody"

export type Access =
  | { readonly kind: "enter" }
  /** May ask the recipient, if limits and admission let him. */
  | { readonly kind: "ask" }
  | { readonly kind: "refused"; readonly reason: AccessRefusal }

/** Whose mail is blocked is told what every stranger is told. */
export type AccessRefusal = "not a contact" | "this kind of message is not accepted"

/** What is known of a sender. */
export interface SenderFacts {
  /** By profile or by the address that its domain says is his. */
  readonly blocked: boolean
  /** This very profile was accepted. */
  readonly accepted: boolean
  /** This very profile is that of an account here. */
  readonly ours: boolean
}

/** Who a sender is; a block comes before everything. */
export function relationOf({ blocked, accepted, ours }: SenderFacts): Relation {
  if (blocked) return "blocked"
  if (accepted) return "contact"
  return ours ? "organisation" : "stranger"
}

/** Whether a message of this type may come in. Types that are not named here never do. */
export function accessOf(type: string, relation: Relation, accept: readonly Accepted[]): Access {
  if (type === "MessageContact") return relation === "blocked" ? refused("not a contact") : { kind: "ask" }
  if (type !== "MessageMail") return refused("this kind of message is not accepted")
  const isWanted =
    (relation !== "blocked" && accept.includes("everybody")) ||
    (relation === "contact" && accept.includes("contacts")) ||
    (relation === "organisation" && accept.includes("organisation"))
  return isWanted ? { kind: "enter" } : refused("not a contact")
}

function refused(reason: AccessRefusal): Access {
  return { kind: "refused", reason }
}
