import fc from "fast-check"
import { afterAll, describe, expect, test } from "vitest"
import { SEED_SPECIFIER } from "../../src/crypto/udf/seed.ts"
import { GatewayError } from "../../src/errors.ts"
import { silentLog } from "../../src/log/log.ts"
import { makeCapability, readCapability } from "../../src/mesh/capability.ts"
import {
  makeAcknowledgement,
  makeConnectionRequest,
  readAcknowledgement,
  readConnectionRequest,
} from "../../src/mesh/connecting.ts"
import { signerWith } from "../../src/mesh/key-data.ts"
import { MAX_OBJECT_OCTETS } from "../../src/mesh/object.ts"
import { deviceKeys } from "../../src/mesh/profile-make.ts"
import { readAnswer, writeAnswer } from "../../src/mesh/protocol/answer.ts"
import { OPERATIONS } from "../../src/mesh/protocol/operation.ts"
import { readRequest, requestDigest, writeRequest } from "../../src/mesh/protocol/request.ts"
import { makeClaim, makePublication, readClaim, readPublication } from "../../src/mesh/publication.ts"
import { readAnySigned, signObject } from "../../src/mesh/signed.ts"
import { bindHandlers } from "../../src/mesh-in/bind.ts"
import { claimHandlers } from "../../src/mesh-in/claim.ts"
import { connectHandlers } from "../../src/mesh-in/connect.ts"
import { helloOf } from "../../src/mesh-in/hello.ts"
import { operateWith } from "../../src/mesh-in/operate.ts"
import { postTo } from "../../src/mesh-in/post.ts"
import { storeHandlers } from "../../src/mesh-in/stores.ts"
import { CREATED } from "../mesh/people.ts"
import {
  administratorSigner,
  answering,
  carol,
  home,
  NOON,
  peer,
  phone,
  phoneSigner,
  signerOf,
  terms,
} from "../mesh/protocol-world.ts"
import { asked, carolsHome } from "../mesh-in/world.ts"
import { damaged } from "./damaged.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 60)

const parts = await carolsHome()
afterAll(() => parts.opened[Symbol.asyncDispose]())
let received: Uint8Array[] = []
const { service } = asked({
  Hello: helloOf(answering, []),
  Post: postTo({
    ...parts,
    log: silentLog(),
    receivers: new Map([
      [
        "MessageNote",
        async ({ message }) => {
          received.push(message)
          return { kind: "accepted" }
        },
      ],
    ]),
  }),
  ...storeHandlers(parts),
  ...claimHandlers(parts),
  ...bindHandlers({ ...parts, own: answering, address: "", remove: () => undefined }),
  ...connectHandlers({
    ...parts,
    own: answering,
    random: (octets) => new Uint8Array(octets),
    countSince: () => 0,
    networks: { of: async () => 0, add: async () => 1 },
    admissionKey: new Uint8Array(32),
    workOf: () => 0,
  }),
  Operate: operateWith({ ...parts, keys: [] }),
})

const message = signObject("MessageNote", { Text: "hello" }, [signerOf(peer)], { created: CREATED }, "json-b")
const members = {
  EnvelopedProfileService: peer.profile.envelope,
  Messages: [{ Account: carol.profile.address, Message: message }],
}
const post = writeRequest("Post", members, terms(), [signerOf(peer)])
const answer = writeAnswer(readRequest(post), { outcome: "Success", reason: "", members: {} }, answering, NOON)
const tabletSigner = signerWith(
  deviceKeys({ specifier: SEED_SPECIFIER.profileDevice, octets: new Uint8Array(32).fill(90) }).signature,
)
const connection = makeConnectionRequest(
  {
    messageId: "NBAM-IBG7-4IM2-UNK6-NQOQ-HFSR-4LBD",
    accountAddress: carol.profile.address,
    device: phone.profile,
    clientNonce: new Uint8Array(16),
    pinId: null,
    pinWitness: null,
  },
  tabletSigner,
  CREATED,
)
const acknowledgement = makeAcknowledgement(
  readConnectionRequest(connection),
  carol.profile,
  new Uint8Array(16),
  answering.signer,
  CREATED,
)
const capability = makeCapability(
  { kind: "access", id: "M", isActive: true, issued: CREATED, rights: ["a"] },
  administratorSigner,
)
const publication = makePublication(
  { id: "E", authenticator: "E", notOnOrAfter: CREATED },
  new Uint8Array(9),
  phoneSigner,
  CREATED,
)
const claim = makeClaim(
  { sender: "a@b.example", publicationId: "E", serviceAuthenticate: "A", deviceAuthenticate: "A", expires: null },
  phoneSigner,
  CREATED,
)

/** What a reader may answer to anything: its value, or an error of ours. */
function answers(read: () => unknown): boolean {
  try {
    read()
    return true
  } catch (error) {
    return error instanceof GatewayError
  }
}

describe("what somebody has damaged, or made up", () => {
  const readers: [what: string, original: Uint8Array, read: (octets: Uint8Array) => unknown][] = [
    ["a request", post, readRequest],
    [
      "an answer",
      answer,
      (octets) => readAnswer(octets, { operation: "Post", digest: requestDigest(post) }, home.profile),
    ],
    ["a message of any type", message, readAnySigned],
    ["a device that wants to be connected", connection, readConnectionRequest],
    [
      "what the service says of it",
      acknowledgement,
      (octets) => readAcknowledgement(octets, carol.profile, home.profile),
    ],
    ["a capability", capability, (octets) => readCapability(octets, carol.profile)],
    ["a publication", publication, readPublication],
    ["a claim", claim, readClaim],
  ]
  test.each(readers)("%s", (_, original, read) => {
    const any = fc.oneof(damaged(original), fc.uint8Array({ maxLength: 500 }))
    fc.assert(
      fc.property(any, (octets) => answers(() => read(octets))),
      { numRuns: RUNS },
    )
  })
})

test("a damaged request gets an answer or none, and a receiver sees no message but the one that was posted", async () => {
  received = []
  const property = fc.asyncProperty(damaged(post), async (octets) => {
    const given = await service(octets)
    if (given === null) return
    readAnswer(given.octets, { operation: given.operation, digest: requestDigest(octets) }, home.profile)
  })
  await fc.assert(property, { numRuns: RUNS })
  for (const one of received) expect(Buffer.compare(one, message)).toBe(0)
  expect(received.length).toBeLessThanOrEqual(1)
})

test("members of any kind, signed in order, get an answer", async () => {
  const value = fc.oneof(
    fc.constantFrom(carol.profile.address, "Local", "Access", 0, -1, true, null),
    fc.constantFrom(
      carol.profile.envelope,
      phone.connection,
      connection,
      claim,
      capability,
      message,
      new Uint8Array(64),
    ),
    fc.string({ maxLength: 20 }),
  )
  const nested = fc.letrec((tie) => ({
    any: fc.oneof({ depthSize: "small" }, value, fc.array(tie("any"), { maxLength: 3 }), tie("object")),
    object: fc.dictionary(fc.constantFrom(...NAMES), tie("any"), { maxKeys: 6 }),
  }))
  const property = fc.asyncProperty(fc.constantFrom(...OPERATIONS), nested.object, async (operation, some) => {
    const all = { Account: carol.profile.address, ...(some as object) }
    const octets = writeRequest(operation, all, terms(), [administratorSigner])
    const given = await service(octets)
    if (octets.length <= MAX_OBJECT_OCTETS) expect(given?.operation).toBe(operation)
  })
  await fc.assert(property, { numRuns: RUNS * 3 })
})

const NAMES = [
  "Account",
  "Updates",
  "Select",
  "Store",
  "Index",
  "IndexMin",
  "Digest",
  "Envelopes",
  "Operations",
  "KeyId",
  "PublicKey",
  "CryptographicOperationKeyAgreement",
  "EnvelopedProfileAccount",
  "EnvelopedConnectionDevice",
  "EnvelopedRequestConnection",
  "EnvelopedMessageClaim",
  "ResponseId",
  "PublicationId",
  "Message",
  "Messages",
  "Admission",
]
