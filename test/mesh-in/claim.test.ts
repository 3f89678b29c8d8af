import { afterAll, beforeEach, describe, expect, test } from "vitest"
import { memberOf, octetsOf } from "../../src/crypto/jsonb/value.ts"
import { claimAuthenticator, publicationAuthenticator, publicationId } from "../../src/crypto/udf/publication.ts"
import { SEED_SPECIFIER } from "../../src/crypto/udf/seed.ts"
import { signerWith } from "../../src/mesh/key-data.ts"
import { deviceKeys, makeProfileDevice } from "../../src/mesh/profile-make.ts"
import { writeRequest } from "../../src/mesh/protocol/request.ts"
import { makeClaim, makePublication, type PublicationClaim, publishedIn } from "../../src/mesh/publication.ts"
import { claimHandlers } from "../../src/mesh-in/claim.ts"
import { storeHandlers } from "../../src/mesh-in/stores.ts"
import { account, CREATED } from "../mesh/people.ts"
import { administratorSigner, carol, NOON, terms } from "../mesh/protocol-world.ts"
import { type Asking, asked, carolsHome } from "./world.ts"

const parts = await carolsHome()
const { stores } = parts
afterAll(() => parts.opened[Symbol.asyncDispose]())
const { ask, send } = asked({ ...claimHandlers(parts), ...storeHandlers(parts) })

/** A printer that Carol, who made it, has published under the key on its sticker; Dave claims it. */
const key = new Uint8Array(15).fill(9)
const id = publicationId(key)
const seed = { specifier: SEED_SPECIFIER.profileDevice, octets: new Uint8Array(32).fill(150) }
const printer = makeProfileDevice(seed, CREATED)
const printerSigner = signerWith(deviceKeys(seed).signature)
const dave = account("dave@three.example", 8)
const daveSigner = signerWith(dave.administrator)

async function publish(notOnOrAfter: Date | null = null): Promise<void> {
  const publication = { id, authenticator: publicationAuthenticator(key), notOnOrAfter }
  const entry = makePublication(publication, Uint8Array.of(1, 2, 3), administratorSigner, CREATED)
  const { frames, digest } = stores.end(carol.profile.address, "Publication")
  const updates = [{ Store: "Publication", Index: frames, Digest: digest, Envelopes: [entry] }]
  const members = { Account: carol.profile.address, Updates: updates }
  expect((await ask("Transact", { members, signers: [administratorSigner] })).outcome).toBe("Success")
}
beforeEach(async () => {
  stores.remove(carol.profile.address)
  await publish()
})

function claiming(change: Partial<PublicationClaim> = {}, signer = daveSigner, signers = [daveSigner]): Asking {
  const claim: PublicationClaim = {
    sender: dave.profile.address,
    publicationId: id,
    serviceAuthenticate: claimAuthenticator(key, "service", dave.profile.address),
    deviceAuthenticate: claimAuthenticator(key, "device", dave.profile.address),
    expires: null,
    ...change,
  }
  const members = {
    Account: carol.profile.address,
    EnvelopedProfileAccount: dave.profile.envelope,
    EnvelopedMessageClaim: makeClaim(claim, signer, CREATED),
  }
  return { members, signers }
}
const polling = (signers = [printerSigner], wanted = id): Asking => ({
  members: { Account: carol.profile.address, EnvelopedProfileDevice: printer.envelope, PublicationId: wanted },
  signers,
})

describe("a claim", () => {
  test("gets what is published, and is found by the device that polls", async () => {
    expect((await ask("PollClaim", polling())).outcome).toBe("Later")
    const asking = claiming()
    const answer = await ask("Claim", asking)
    expect(answer.outcome).toBe("Success")
    const found = memberOf(answer.members, "EnvelopedCatalogedPublication", octetsOf) ?? new Uint8Array()
    expect(publishedIn(found)).toEqual(Uint8Array.of(1, 2, 3))
    const polled = await ask("PollClaim", polling())
    expect(memberOf(polled.members, "EnvelopedMessage", octetsOf)).toEqual(asking.members?.["EnvelopedMessageClaim"])
  })

  const other = claimAuthenticator(new Uint8Array(15).fill(8), "service", dave.profile.address)
  const rows: [string, Asking, string][] = [
    ["with another key", claiming({ serviceAuthenticate: other }), "NotFound"],
    [
      "with what was another's",
      claiming({ serviceAuthenticate: claimAuthenticator(key, "service", "eve@x.example") }),
      "NotFound",
    ],
    ["of what is not there", claiming({ publicationId: publicationId(new Uint8Array(15)) }), "NotFound"],
    ["in another's name", claiming({ sender: "eve@three.example" }), "Refused"],
    ["expired", claiming({ expires: NOON }), "Refused"],
    ["signed by another", claiming({}, administratorSigner), "Malformed"],
    ["unsigned", claiming({}, daveSigner, []), "Unsigned"],
    ["asked by another", claiming({}, daveSigner, [administratorSigner]), "Forged"],
  ]
  test.each(rows)("%s: refused, and nobody finds it", async (_, asking, outcome) => {
    expect((await ask("Claim", asking)).outcome).toBe(outcome)
    expect((await ask("PollClaim", polling())).outcome).toBe("Later")
  })

  test("replayed: refused", async () => {
    const octets = writeRequest("Claim", claiming().members ?? {}, terms(), [daveSigner])
    expect((await send("Claim", octets)).outcome).toBe("Success")
    expect((await send("Claim", octets)).outcome).toBe("Replayed")
  })

  test("of what is published no longer: refused", async () => {
    await publish(NOON)
    expect((await ask("Claim", claiming())).outcome).toBe("NotFound")
    expect((await ask("PollClaim", polling())).outcome).toBe("NotFound")
  })
})

test.each([
  ["unsigned", polling([]), "Unsigned"],
  ["forged", polling([daveSigner]), "Forged"],
  ["for what is not there", polling(undefined, publicationId(new Uint8Array(15))), "NotFound"],
] as const)("a device that polls %s: refused", async (_, asking, outcome) => {
  expect((await ask("PollClaim", asking)).outcome).toBe(outcome)
})
