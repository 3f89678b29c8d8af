/**
 * The class behind mailauth's `dkimVerify`, of which mailauth declares only that function. The version is pinned, and
 * test/smtp-in/authenticate.test.ts goes through all of this.
 */
declare module "mailauth/lib/dkim/dkim-verifier.js" {
  import type { KeyObject } from "node:crypto"
  import type { ARCData, DKIMResult, DKIMVerifyResult, DNSResolver } from "mailauth"

  export class DkimVerifier {
    constructor(options: {
      readonly resolver: DNSResolver
      readonly strict: boolean
      readonly sender: string
      readonly curTime: Date
    })
    /** Takes the whole header section, its empty line included. Called once, before the body. */
    emitHeaders(section: Uint8Array): Promise<void>
    /** One for each way in which signatures hash the body; there when the header section is. */
    readonly bodyHashes: ReadonlyMap<string, unknown>
    /** Hashes octets of the body; no line end in them is bare. */
    nextChunk(octets: Uint8Array): Promise<void>
    /** Asks for keys and verifies. Called once, behind the body. */
    finish(): Promise<void>
    /** Those that will be looked at, ARC's last one among them; there when the header section is. */
    readonly signatureHeaders: { readonly signingDomain: string; readonly selector: string }[]
    /** What is read of key records, of ARC's too. */
    readonly keyCache: {
      get(
        type: string,
        name: string,
        minBitLength: number | undefined,
        options: object | undefined,
      ): Promise<{
        /** PEM; whatever node:crypto takes does as well. */
        readonly publicKey: string | KeyObject
      }>
    }
    readonly headerFrom: string[]
    readonly fromFields: number
    readonly results: (DKIMResult & { readonly status: { aligned?: string | false; underSized?: number } })[]
    readonly arc: ARCData
    readonly headers: NonNullable<DKIMVerifyResult["headers"]>
  }
}
