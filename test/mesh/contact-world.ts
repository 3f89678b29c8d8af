import { type ContactStatement, writeContactMessage } from "../../src/mesh/contact/message.ts"
import { makeContactPerson } from "../../src/mesh/contact/person.ts"
import { signerWith } from "../../src/mesh/key-data.ts"
import { ROLE_SEND_MAIL } from "../../src/mesh/mail/check.ts"
import type { SpeakingFor } from "../../src/mesh/speaker.ts"
import { type Account, account, connectedDevice, service } from "./people.ts"

/** Carol's service, which sends; Dave's, which is asked. */
export const hers = service(60)
export const his = service(70)
export const carol = account("carol@one.example", 4, hers.profile.udf)
export const dave = account("dave@two.example", 5, his.profile.udf)
/** Says that Carol's address is his. */
export const mallory = account("carol@one.example", 6, hers.profile.udf)
export const NOON = new Date("2026-11-26T12:00:00Z")

/** The gateway of an account speaks for it. */
export function gatewayOf(person: Account, octet: number, roles: readonly string[] = [ROLE_SEND_MAIL]): SpeakingFor {
  const device = connectedDevice(person, octet, roles)
  return { signer: signerWith(device.keys.signature), connection: device.connection }
}

export const carolsGateway = gatewayOf(carol, 90)
export const davesGateway = gatewayOf(dave, 94)
export const mallorysGateway = gatewayOf(mallory, 97)
export const carolHerself: SpeakingFor = { signer: signerWith(carol.keys.signature), connection: null }

export const MESSAGE_ID = "NBAM-IBG7-4IM2-UNK6-NQOQ-HFSR-4LBD"

/** What Carol writes to Dave. */
export function request(changes: Partial<ContactStatement> = {}, speaker: SpeakingFor = carolsGateway, of = carol) {
  const statement = {
    messageId: MESSAGE_ID,
    sender: of.profile.address,
    recipient: dave.profile.address,
    recipientUdf: dave.profile.udf,
    date: NOON,
    reply: true,
    text: "Hello Dave, we met in Bern.",
    pin: "ADE7-4VMG-Q2MG-IDHU-3XKI-ZPEU-AE",
    proof: null,
    contact: makeContactPerson(of.profile, speaker, NOON),
    introduction: null,
    ...changes,
  }
  return writeContactMessage(statement, speaker)
}
