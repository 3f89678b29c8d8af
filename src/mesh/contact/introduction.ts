/** PURE */
import { type JsonValue, memberOf, textOf } from "../../crypto/jsonb/value.ts"
import { verbatim, type Writable } from "../../crypto/jsonb/write.ts"
import { envelopedIn } from "../enveloped.ts"
import { checkTime } from "../key-data.ts"
import { requiredMember, timeOf, writeTime } from "../object.ts"
import { isNameOf, type Profile, type ProfileUser } from "../profile.ts"
import { readSigned, type SignedObject, signObject, untrusted } from "../signed.ts"
import { type SpeakingFor, speakerOf } from "../speaker.ts"

/*
 * Ours: a contact of the recipient's says that he knows who asks. It spares the work, and nothing else: the person is asked all the same, and is told who introduces.
 *
 *     ContactIntroduction { Subject, Recipient, Introducer, NotOnOrAfter, Connection }
 *
 * The first three are UDFs of profiles, so that nobody else can use it, and with nobody else.
 */

/** Who is introduced, to whom, by whom. */
export interface Introduction {
  readonly introducer: string
  readonly subject: string
  readonly recipient: string
  readonly notOnOrAfter: Date
  readonly connection: Uint8Array | null
  readonly object: SignedObject
}

/** @throws GatewayError MESH_OBJECT_INVALID; as `readSigned` */
export function readIntroduction(envelope: Uint8Array): Introduction {
  const object = readSigned(envelope, ["ContactIntroduction"])
  const text = (name: string) => requiredMember(object.members, name, textOf)
  return {
    introducer: text("Introducer"),
    subject: text("Subject"),
    recipient: text("Recipient"),
    notOnOrAfter: requiredMember(object.members, "NotOnOrAfter", timeOf),
    connection: memberOf(object.members, "Connection", (value: JsonValue, what) =>
      envelopedIn(object.octets, value, what),
    ),
    object,
  }
}

/** Profiles that an introduction has to be about. */
export interface Introduced {
  /** As the recipient knows him. */
  readonly introducer: ProfileUser
  readonly subject: Pick<Profile, "binaryUdf">
  readonly recipient: Pick<Profile, "binaryUdf">
}

/** @throws GatewayError MESH_UNTRUSTED: it is another's, about others, or forged; MESH_EXPIRED; UDF_MALFORMED */
export function checkIntroduction(introduction: Introduction, who: Introduced, now: Date): void {
  for (const name of ["introducer", "subject", "recipient"] as const)
    if (!isNameOf(who[name], introduction[name])) throw untrusted(`introduction is of another ${name}`)
  const { key, generation, udf } = who.introducer.keys.signature
  checkTime({ udf, key, generation, notBefore: null, notOnOrAfter: introduction.notOnOrAfter }, now)
  speakerOf(introduction.object.end, who.introducer, introduction.connection, now)
}

/** Makes what {@link checkIntroduction} checks. */
export function makeIntroduction(
  {
    introducer,
    subject,
    recipient,
  }: { readonly introducer: string; readonly subject: string; readonly recipient: string },
  { signer, connection }: SpeakingFor,
  { created, notOnOrAfter }: { readonly created: Date; readonly notOnOrAfter: Date },
): Uint8Array {
  const members: { readonly [name: string]: Writable | undefined } = {
    Introducer: introducer,
    Subject: subject,
    Recipient: recipient,
    NotOnOrAfter: writeTime(notOnOrAfter),
    Connection: connection === null ? undefined : verbatim(connection),
  }
  return signObject("ContactIntroduction", members, [signer], { created }, "json-b")
}
