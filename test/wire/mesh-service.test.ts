import { request } from "node:https"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { octetsAtHand } from "../../src/crypto/dare/sequence/read.ts"
import { verifySequence } from "../../src/crypto/dare/sequence/verify.ts"
import type { Signer } from "../../src/crypto/dare/signature.ts"
import { itemsOf, memberOf, objectOf, octetsOf } from "../../src/crypto/jsonb/value.ts"
import type { Writable } from "../../src/crypto/jsonb/write.ts"
import { keyUdf } from "../../src/crypto/mesh-keys/fingerprint.ts"
import { SEED_SPECIFIER } from "../../src/crypto/udf/seed.ts"
import { binaryUdf, presentUdf, UDF_TYPE } from "../../src/crypto/udf/udf.ts"
import { startPublicHttp } from "../../src/http/public.ts"
import { Counters } from "../../src/log/counters.ts"
import { silentLog } from "../../src/log/log.ts"
import { makeCapability } from "../../src/mesh/capability.ts"
import { makeConnectionRequest, readAcknowledgement } from "../../src/mesh/connecting.ts"
import { signerWith } from "../../src/mesh/key-data.ts"
import { ROLE_MESSAGE } from "../../src/mesh/mail/check.ts"
import { envelopeIdOf, responseIdOf } from "../../src/mesh/message-id.ts"
import type { Profile } from "../../src/mesh/profile.ts"
import { deviceKeys } from "../../src/mesh/profile-make.ts"
import { type MeshAnswer, readAnswer, readHello } from "../../src/mesh/protocol/answer.ts"
import type { Operation } from "../../src/mesh/protocol/operation.ts"
import { requestDigest, writeRequest } from "../../src/mesh/protocol/request.ts"
import { signObject } from "../../src/mesh/signed.ts"
import { MeshAccounts } from "../../src/store/mesh-accounts.ts"
import { openMeshHost } from "../../src/store/mesh-host.ts"
import { MeshStores } from "../../src/store/mesh-stores.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { meshDoorOf } from "../../src/wire/mesh-service.ts"
import { askersOf } from "../../src/wire/published.ts"
import { testCertificate } from "../harness/certificate.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { nobodysKeys } from "../http/published.ts"
import { account, connectedDevice } from "../mesh/people.ts"
import { peer, signerOf, stranger } from "../mesh/protocol-world.ts"

const NOW = new Date("2026-11-26T12:00:00Z")
const ADDRESS = "erin@example.test"
const erin = account(ADDRESS, 11)
const erinSigner = signerWith(erin.administrator)
const phone = connectedDevice(erin, 180, [ROLE_MESSAGE])
const phoneBase = signerWith(
  deviceKeys({ specifier: SEED_SPECIFIER.profileDevice, octets: new Uint8Array(32).fill(180) }).signature,
)
const phoneSigner = signerWith(phone.keys.signature)
const byPhone = { Account: ADDRESS, EnvelopedConnectionDevice: phone.connection }

const stack = new AsyncDisposableStack()
let port: number
let certificate: string
let home: Profile
let counters: Counters
let core: Parameters<typeof meshDoorOf>[0]
afterAll(() => stack.disposeAsync())

beforeAll(async () => {
  const folder = stack.use(await temporaryFolder())
  const toml = `domains = ["example.test"]\n[listen]\nhttps = "127.0.0.1:0"\n[mesh]\nservice = "https://mesh.example.test/.well-known/mmm/"\n`
  const config = { ...parseConfig(toml, folder.file("postern.toml")), secrets: folder.file("secrets") }
  const database = stack.adopt(openEmbeddedState(folder.file("data")), (state) => state.close())
  const one = Uint8Array.of(1)
  database.sql.run`
    INSERT INTO account (address, name, formats, root, intermediate, profile, added_at) VALUES (${ADDRESS}, '', '', ${one}, ${one}, '', 0)`
  new MeshAccounts(database).put({ profile: erin.profile.envelope, connection: one, activation: one, mailProfile: one })
  const stores = new MeshStores(database, 1_000_000)
  counters = new Counters()
  home = openMeshHost(config.secrets, NOW).service.profile
  core = { config, database, now: () => NOW, log: silentLog(), counters }
  const keep = async (posted: { message: Uint8Array }) => {
    const entries = [{ name: "", content: posted.message }]
    stores.append(ADDRESS, [{ store: "Inbound", expected: null, entries }], NOW)
    return { kind: "accepted" } as const
  }
  const tls = await testCertificate("mesh.example.test")
  certificate = tls.certificate
  const server = await startPublicHttp({
    host: "127.0.0.1",
    port: 0,
    tls,
    ...nobodysKeys([]),
    askers: askersOf({
      config: {
        ...config,
        policy: { ...config.policy, trusted: [] },
        limits: { ...config.limits, httpUnknownAddresses: 3 },
      },
      counters,
    }),
    clients: { domains: [], services: config.clients },
    stsPolicy: null,
    mesh: meshDoorOf(core, () => new Map([["MessageNote", keep]])),
    shelf: null,
    log: silentLog(),
  })
  stack.defer(() => server.close())
  port = Number(new URL(server.listeningOrigin).port)
})

function post(body: Uint8Array): Promise<{ status: number; body: Uint8Array }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: Uint8Array }>()
  const headers = { "content-type": "application/dare", host: "mesh.example.test" }
  const options = {
    port,
    host: "127.0.0.1",
    path: "/.well-known/mmm/",
    method: "POST",
    headers,
    ca: certificate,
    servername: "mesh.example.test",
  }
  request(options, (response) => {
    const pieces: Buffer[] = []
    response.on("data", (piece: Buffer) => pieces.push(piece))
    response.on("end", () => resolve({ status: response.statusCode ?? 0, body: new Uint8Array(Buffer.concat(pieces)) }))
  })
    .on("error", reject)
    .end(body)
  return promise
}

let nonces = 0
const terms = () => ({ target: home.udf, time: NOW, nonce: new Uint8Array(16).fill(++nonces) })

async function ask(
  operation: Operation,
  members: { [name: string]: Writable },
  signers: readonly Signer[] = [],
): Promise<MeshAnswer> {
  const octets = writeRequest(operation, members, terms(), signers)
  const { status, body } = await post(octets)
  expect(status).toBe(200)
  return readAnswer(body, { operation, digest: requestDigest(octets) }, home)
}

async function put(store: string, envelope: Uint8Array): Promise<void> {
  const before = await ask("Download", { Account: ADDRESS, Select: [{ Store: store }] }, [erinSigner])
  const [end] = memberOf(before.members, "Updates", itemsOf) ?? []
  const object = objectOf(end ?? fail(), "Updates")
  const update = {
    Store: store,
    Index: Number(
      object.members.get("Index")?.kind === "integer" ? (object.members.get("Index") as { value: bigint }).value : 0n,
    ),
    Digest: memberOf(object, "Digest", octetsOf) ?? fail(),
    Envelopes: [envelope],
  }
  expect((await ask("Transact", { Account: ADDRESS, Updates: [update] }, [erinSigner])).outcome).toBe("Success")
}
function fail(): never {
  throw new Error("missing")
}

async function framesOf(
  store: string,
  members: { [name: string]: Writable },
  signers: readonly Signer[],
): Promise<Uint8Array[]> {
  const answer = await ask("Download", { ...members, Select: [{ Store: store }] }, signers)
  const [update] = memberOf(answer.members, "Updates", itemsOf) ?? []
  return (memberOf(objectOf(update ?? fail(), "Updates"), "Frames", itemsOf) ?? []).map((frame) =>
    octetsOf(frame, "Frames"),
  )
}

describe("the Mesh service of a gateway, over HTTPS", () => {
  test("says who it is, signed by the name that is expected", async () => {
    const octets = writeRequest("Hello", {}, terms(), [])
    const { body } = await post(octets)
    expect(readHello(body, requestDigest(octets), home.udf).service.udf).toBe(home.udf)
  })

  test("a device is connected, a message is posted, and the device reads it out of a sequence that it can verify", async () => {
    const messageId = presentUdf(binaryUdf(UDF_TYPE.nonce, new Uint8Array(16).fill(77)))
    const clientNonce = new Uint8Array(16).fill(78)
    const asked = {
      messageId,
      accountAddress: ADDRESS,
      device: phone.profile,
      clientNonce,
      pinId: null,
      pinWitness: null,
    }
    const connecting = { Account: ADDRESS, EnvelopedRequestConnection: makeConnectionRequest(asked, phoneBase, NOW) }
    const shown = await ask("Connect", connecting, [phoneBase])
    const acknowledgement = memberOf(shown.members, "EnvelopedAcknowledgeConnection", octetsOf) ?? fail()
    const { witness } = readAcknowledgement(acknowledgement, erin.profile, home)

    const frames = await framesOf("Connect", { Account: ADDRESS }, [erinSigner])
    expect(Buffer.concat(frames).includes(Buffer.from(acknowledgement))).toBe(true)
    expect(Buffer.from(acknowledgement).length).toBeGreaterThan(witness.length)

    const responseId = responseIdOf(messageId)
    const response = { MessageId: responseId, Result: "Accept", EnvelopedConnectionDevice: phone.connection }
    const labels = { envelopeId: envelopeIdOf(responseId), created: NOW }
    await put("Local", signObject("RespondConnection", response, [erinSigner], labels))
    const rights = ["mmm_o_Status", "mmm_o_Download"]
    const id = keyUdf(phone.publicKeys.authentication, 2024)
    await put("Access", makeCapability({ kind: "access", id, isActive: true, issued: NOW, rights }, erinSigner))
    expect((await ask("Complete", { Account: ADDRESS, ResponseId: responseId }, [phoneBase])).outcome).toBe("Success")

    const message = signObject("MessageNote", { Text: "hello" }, [signerOf(peer)], { created: NOW }, "json-b")
    const posting = {
      EnvelopedProfileService: peer.profile.envelope,
      Messages: [{ Account: ADDRESS, Message: message }],
    }
    expect((await ask("Post", posting, [signerOf(peer)])).outcome).toBe("Success")

    const inbound = Buffer.concat(await framesOf("Inbound", byPhone, [phoneSigner]))
    expect(inbound.includes(Buffer.from(message))).toBe(true)
    for await (const { link } of verifySequence(octetsAtHand(inbound))) expect(link).toBe("linked")
    expect(await counters.text()).toMatch(/^postern_mesh_requests_total\{operation="Post",outcome="Success"\} 1$/m)
  })

  test("who forges too often is not heard any more", async () => {
    const posting = { EnvelopedProfileService: peer.profile.envelope, Messages: [] }
    for (let count = 0; count < 3; count++)
      expect((await ask("Post", posting, [signerOf(stranger)])).outcome).toBe("Forged")
    expect((await post(writeRequest("Hello", {}, terms(), []))).status).toBe(429)
  })
})

test("what one network asks within a minute is bounded, and counted; another's is its own", async () => {
  const { limits, policy } = core.config
  const config = {
    ...core.config,
    limits: { ...limits, meshRequestsPerNetwork: 2 },
    policy: { ...policy, trusted: [] },
  }
  const door = meshDoorOf({ ...core, config }, () => new Map())
  const asked = await Promise.all(["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"].map((one) => door?.mayAsk(one)))
  expect(asked).toEqual([true, true, false, true])
  expect(await counters.text()).toMatch(/^postern_http_limited_total\{limit="mesh-requests"\} 1$/m)
})

test("of one network four devices a day ask an account to connect them; another's are its own", async () => {
  const door = meshDoorOf(
    { ...core, config: { ...core.config, policy: { ...core.config.policy, trusted: [] } } },
    () => new Map(),
  )
  const connecting = async (octet: number, remote: string) => {
    const asked = {
      messageId: presentUdf(binaryUdf(UDF_TYPE.nonce, new Uint8Array(16).fill(octet))),
      accountAddress: ADDRESS,
      device: phone.profile,
      clientNonce: new Uint8Array(16).fill(78),
      pinId: null,
      pinWitness: null,
    }
    const members = { Account: ADDRESS, EnvelopedRequestConnection: makeConnectionRequest(asked, phoneBase, NOW) }
    const octets = writeRequest("Connect", members, { ...terms(), nonce: new Uint8Array(16).fill(octet) }, [phoneBase])
    const answer = await door?.answer(octets, remote)
    return readAnswer(answer?.octets ?? new Uint8Array(), { operation: "Connect", digest: requestDigest(octets) }, home)
  }
  const outcomes: string[] = []
  for (let octet = 80; octet < 85; octet++) outcomes.push((await connecting(octet, "2001:db8::1")).outcome)
  outcomes.push((await connecting(85, "2001:db8::2:1")).outcome, (await connecting(86, "192.0.2.2")).outcome)
  expect(outcomes).toEqual(["Success", "Success", "Success", "Success", "TooMany", "TooMany", "Success"])
})

test("without mesh.service there is none", () => {
  const config = parseConfig('domains = ["example.test"]\n', "/nowhere/postern.toml")
  expect(meshDoorOf({ ...core, config }, () => new Map())).toBeNull()
})
