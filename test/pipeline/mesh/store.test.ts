import { writeFile } from "node:fs/promises"
import { describe, expect, test } from "vitest"
import { openEnveloped } from "../../../src/crypto/cms/open.ts"
import { dearmor } from "../../../src/crypto/openpgp/armor.ts"
import { openOpenPgp } from "../../../src/crypto/openpgp/open.ts"
import { p256Pkcs8 } from "../../../src/crypto/primitives/p256.ts"
import { cmsRecryptor } from "../../../src/crypto/recryption/cms.ts"
import { RecryptionStream } from "../../../src/crypto/recryption/stream.ts"
import { GatewayError } from "../../../src/errors.ts"
import { shownFields } from "../../../src/mesh/mail/shown.ts"
import { parseFields } from "../../../src/mime/header.ts"
import { MarkerCheck } from "../../../src/pipeline/marker.ts"
import type { MeshMail, PublishedMail } from "../../../src/pipeline/mesh/ports.ts"
import { MISSING_ATTEMPTS, MISSING_MS } from "../../../src/pipeline/mesh/store.ts"
import { deliver } from "../../../src/pipeline/pipeline.ts"
import type { Mailboxes } from "../../../src/pipeline/ports.ts"
import { stored } from "../../../src/pipeline/settle.ts"
import { jobFor } from "../../../src/queue/queue.ts"
import { peer, run, temporaryFolder } from "../../harness/peers.ts"
import { inPieces } from "../../harness/pieces.ts"
import {
  bob,
  bobAccount,
  bobCertificate,
  bobsDevice,
  bobsOpenPgp,
  entity,
  NOW,
  openPgpRecipient,
  type Sealed,
  sealed,
} from "../../mesh/mail-world.ts"
import { bodyOf, headerOf, text } from "../leaving.ts"
import { gatewayWith, type Kept, meshMail, opened, receiving } from "./world.ts"

const job = jobFor("0123456789", bob.profile.address, NOW)
const signal = new AbortController().signal

async function kept(mail: Sealed): Promise<Kept> {
  const { post, kept: all } = receiving({ maxMailOctets: 10_000_000 })
  expect(await post(mail.message)).toEqual({ kind: "accepted" })
  const [first] = all
  if (first === undefined) throw new Error("nothing was kept")
  return first
}

async function delivered(mail: Sealed, fetched?: PublishedMail, { afterMs = 0, attempt = 0 } = {}) {
  const mesh = meshMail(fetched === undefined ? {} : { published: async () => fetched })
  const now = () => new Date(NOW.getTime() + afterMs)
  const { gateway, seen } = gatewayWith(opened(await kept(mail)), mesh, { now })
  const outcome = await deliver({ ...job, attempt }, gateway, signal)
  return { outcome, seen }
}

const der = (message: Uint8Array) => Buffer.from(text(bodyOf(message)), "base64")

/** What was published, for as long as it is wanted. */
function published(envelope: Uint8Array, discarded: string[] = []): PublishedMail {
  return {
    content: () => inPieces(envelope, 10_000),
    discard: async () => void discarded.push("discarded"),
  }
}

describe("mail that came over the Mesh", async () => {
  const mail = await sealed(entity())
  const { outcome, seen } = await delivered(mail)
  const octets = seen.mails[0]?.octets ?? new Uint8Array(0)

  test("is stored as S/MIME to the account, which opens it octet for octet", () => {
    expect(outcome.kind).toBe("done")
    expect(openEnveloped(der(octets), bobAccount)).toEqual(entity())
  })

  test("shows outside who was verified, and nothing that is in the ciphertext only", () => {
    const header = headerOf(octets)
    expect(parseFields(Buffer.from(header)).map(({ name }) => name)).toEqual([
      "return-path",
      "received",
      "authentication-results",
      "from",
      "to",
      "date",
      "subject",
      "postern-encrypted",
      "mime-version",
      "content-type",
      "content-transfer-encoding",
      "content-disposition",
    ])
    expect(header).toContain("From: alice@one.example")
    expect(header).not.toContain("canary")
  })

  test("has a marker that holds", () => {
    const check = new MarkerCheck({ markerKey: new Uint8Array(32).fill(5), account: bob.profile.address })
    const stream = new RecryptionStream(() => [], { onStable: (stable) => check.push(stable) })
    stream.push(octets)
    stream.end()
    expect(check.end()).toBe("holds")
  })

  test.skipIf(!peer("openssl"))("is opened by OpenSSL with a device's key, recrypted", async () => {
    await using folder = await temporaryFolder()
    const recrypted = cmsRecryptor({
      from: bobCertificate.identity,
      to: bobsDevice.certificate.identity,
      scalar: bobsDevice.recryptionKey,
    }).recrypt(der(octets))
    await writeFile(folder.file("device.pem"), bobsDevice.pem)
    await writeFile(folder.file("key.der"), p256Pkcs8(bobsDevice.scalar))
    const key = ["-inkey", folder.file("key.der"), "-keyform", "DER", "-recip", folder.file("device.pem")]
    const answer = await run("openssl", ["cms", "-decrypt", "-binary", "-inform", "DER", ...key], {
      input: recrypted ?? new Uint8Array(),
    })
    expect([answer.code, Buffer.from(answer.stdout)]).toEqual([0, Buffer.from(entity())])
  })

  test("is the same octets under the same name when it is tried again", async () => {
    const again = await delivered(mail)
    expect(again.seen.mails).toEqual(seen.mails)
  })
})

describe("mail that came over the Mesh for somebody who reads with OpenPGP alone", async () => {
  const mail = await sealed(entity(), { recipient: openPgpRecipient })
  const openPgpKeysOf = () => [bobsOpenPgp.encryption]
  const { post, kept: all } = receiving({ openPgpKeysOf: () => [bobsOpenPgp.encryption.fingerprint] })
  const receipt = await post(mail.message)
  const [first] = all
  if (first === undefined) throw new Error(`nothing was kept: ${receipt.kind}`)
  const store = async (mesh: Partial<MeshMail>) => {
    const { gateway, seen } = gatewayWith(opened(first), meshMail(mesh))
    return { outcome: await deliver(job, gateway, signal), seen }
  }

  test("is stored as PGP/MIME, which his key opens octet for octet, with a marker that holds", async () => {
    const { outcome, seen } = await store({ openPgpKeysOf, certificatesOf: () => [] })
    expect(outcome.kind).toBe("done")
    const octets = seen.mails[0]?.octets ?? new Uint8Array(0)
    expect(headerOf(octets)).toContain('multipart/encrypted; protocol="application/pgp-encrypted"')
    expect(headerOf(octets)).not.toContain("canary")
    const message = dearmor(bodyOf(octets))?.binary ?? new Uint8Array(0)
    expect(Buffer.from((await openOpenPgp(message, bobsOpenPgp)) ?? [])).toEqual(entity())
    const check = new MarkerCheck({ markerKey: new Uint8Array(32).fill(5), account: bob.profile.address })
    const stream = new RecryptionStream(() => [], { onStable: (stable) => check.push(stable) })
    stream.push(octets)
    stream.end()
    expect(check.end()).toBe("holds")
    expect((await store({ openPgpKeysOf })).seen.mails).toEqual(seen.mails)
  })

  test("is told to its sender when the account has lost the key meanwhile", async () => {
    const { outcome, seen } = await store({ openPgpKeysOf: () => [] })
    expect([outcome.kind, seen.mails]).toEqual(["failed", []])
    expect(seen.reports.join("")).toContain("encrypted to no key of the account")
  })
})

describe("what its sender shows", () => {
  const shown = async (fields: string) => {
    const { seen } = await delivered(await sealed(entity(), { shown: Buffer.from(fields) }))
    return headerOf(seen.mails[0]?.octets ?? new Uint8Array(0))
  }

  test("stands outside", async () => {
    const header = await shown(
      "From: Alice <alice@one.example>\r\nSubject: figures\r\n of May\r\nIn-Reply-To: <7@x>\r\n",
    )
    expect(header).toContain("From: Alice <alice@one.example>\r\nSubject: figures\r\n of May\r\nIn-Reply-To: <7@x>\r\n")
  })

  const rows = [
    ["another author", "From: bob@two.example\r\nSubject: figures\r\n"],
    ["two authors", "From: alice@one.example, bob@two.example\r\nSubject: figures\r\n"],
    ["no author", "Subject: figures\r\n"],
    ["a field twice", "From: alice@one.example\r\nSubject: figures\r\nSubject: others\r\n"],
    [
      "a field that is nobody's to show",
      "From: alice@one.example\r\nSubject: figures\r\nAuthentication-Results: mail.two.example; mesh=pass\r\n",
    ],
    ["a header section's end", "From: alice@one.example\r\nSubject: figures\r\n\r\nbody"],
    ["a bare line end", "From: alice@one.example\r\nSubject: figures\nReceived: x\r\n"],
    ["no line end", "From: alice@one.example\r\nSubject: figures"],
    ["what is no field", "From: alice@one.example\r\nSubject: figures\r\nHello\r\n"],
  ] as const
  test.each(rows)("%s: what was stated stands there instead", async (_, fields) => {
    const header = await shown(fields)
    expect(header).toContain("From: alice@one.example\r\nTo: bob@two.example\r\n")
    expect(header).not.toContain("figures")
  })

  test("of an outer header only what is for everybody is shown, and no more than fits", () => {
    const outside = ["Received: x\r\n", "From: a@b\r\n", "X-Secret: y\r\n", "Subject: s\r\n"].map((one) =>
      Buffer.from(one),
    )
    expect(text(shownFields(outside) ?? new Uint8Array(0))).toBe("From: a@b\r\nSubject: s\r\n")
    expect(shownFields([Buffer.from(`Subject: ${"x".repeat(8_192)}\r\n`)])).toBeNull()
  })
})

describe("mail that is published", async () => {
  const large = entity("0123456789abcdef\r\n".repeat(100_000))
  const mail = await sealed(large, {}, 65_536)
  const envelope = mail.published?.envelope ?? new Uint8Array(0)

  test("is fetched, stored, and let go", async () => {
    const discarded: string[] = []
    const { outcome, seen } = await delivered(mail, published(envelope, discarded))
    expect([outcome.kind, discarded]).toEqual(["done", ["discarded"]])
    const opened = openEnveloped(der(seen.mails[0]?.octets ?? new Uint8Array(0)), bobAccount)
    expect(Buffer.from(opened ?? []).equals(large)).toBe(true)
  })

  const flipped = (at: number) => envelope.map((octet, place) => (place === at ? octet ^ 1 : octet))
  test.each([
    ["altered in its ciphertext", flipped(envelope.length >> 1)],
    ["cut off", envelope.subarray(0, envelope.length - 1_000)],
    ["nothing of the kind", Buffer.from("<html>")],
    ["empty", new Uint8Array(0)],
  ])("%s: nothing is stored, and it is fetched anew", async (_, octets) => {
    const discarded: string[] = []
    const { outcome, seen } = await delivered(mail, published(octets, discarded))
    expect([outcome.kind, seen.mails, discarded]).toEqual(["retry", [], ["discarded"]])
  })

  const unfinished = (code: "MESH_LATER" | "MESH_MISSING" | "MESH_GONE", discarded: string[]): PublishedMail => ({
    ...published(envelope, discarded),
    async *content() {
      yield* inPieces(envelope.subarray(0, envelope.length - 1_000), 10_000)
      throw new GatewayError(code, "timed out")
    },
  })

  test("not to be had to its end now: nothing is stored, later, and what came stays", async () => {
    const discarded: string[] = []
    const { outcome, seen } = await delivered(mail, unfinished("MESH_LATER", discarded))
    expect([outcome.kind, seen.mails, discarded]).toEqual(["retry", [], []])
  })

  test.each([
    ["now", { afterMs: 0, attempt: 0 }, "retry"],
    ["for hours", { afterMs: MISSING_MS - 1, attempt: 9 }, "retry"],
    ["when this gateway comes to it late", { afterMs: MISSING_MS, attempt: MISSING_ATTEMPTS - 1 }, "retry"],
    ["for long", { afterMs: MISSING_MS, attempt: MISSING_ATTEMPTS }, "failed"],
  ])("not there %s: tried again for a while, and what came stays, until its sender is told", async (_, when, kind) => {
    const discarded: string[] = []
    const { outcome, seen } = await delivered(mail, unfinished("MESH_MISSING", discarded), when)
    const isOver = kind === "failed"
    expect([outcome.kind, seen.mails, discarded]).toEqual([kind, [], isOver ? ["discarded"] : []])
    expect(seen.reports.filter((report) => report.includes("Action: failed"))).toHaveLength(isOver ? 1 : 0)
    if (isOver) expect(seen.reports.join("")).toContain("was not there for 6 hours")
  })

  test("gone: its sender is told", async () => {
    const discarded: string[] = []
    const { outcome, seen } = await delivered(mail, unfinished("MESH_GONE", discarded))
    expect([outcome.kind, seen.mails, discarded]).toEqual(["failed", [], ["discarded"]])
    expect(seen.reports).toHaveLength(1)
  })

  test("a store that does not wait is asked when all of it is here; one that does reads it once", async () => {
    const readings = async (isPatient: boolean) => {
      const [all, mesh] = [await kept(mail), published(envelope)]
      const log: string[] = []
      const content = () => {
        log.push("read")
        return mesh.content()
      }
      const { gateway } = gatewayWith(opened(all), meshMail({ published: async () => ({ ...mesh, content }) }))
      const mailboxes: Mailboxes = {
        ...(isPatient ? { isPatient } : {}),
        async deliver(account, message) {
          log.push("asked")
          for await (const _ of (isPatient && message.once?.().content) || message.content());
          return stored(account, "stored")
        },
      }
      await deliver(job, { ...gateway, mailboxes }, signal)
      return log
    }
    expect(await readings(true)).toEqual(["asked", "read"])
    expect((await readings(false)).slice(0, 2)).toEqual(["read", "asked"])
  })
})
