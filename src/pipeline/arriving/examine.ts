import { hasCode } from "../../errors.ts"
import type { Log } from "../../log/log.ts"
import type { SignedBy } from "../../mime/signed.ts"
import type { SpoolEntry } from "../../store/spool.ts"
import type { Arrivals } from "../ports.ts"
import { type Arrived, authenticAuthor, readArrived } from "./arrived.ts"
import { harvestAttached, harvestSigner, learnAutocrypt } from "./learn.ts"
import type { Harvest, Peers, Verdicts, VerifyingMeans } from "./ports.ts"
import { signatureField } from "./verdict.ts"
import { type SeenSignature, seenSignature, type Verified, verifySignature } from "./verify.ts"

export interface ExaminingMeans extends VerifyingMeans {
  /** How we sign our results (RFC 8601 §2.5). */
  readonly authservId: string
  readonly verdicts: Verdicts
  /** null: Autocrypt fields are not looked at. */
  readonly peers: Peers | null
  /** null: no keys are taken from signatures and attachments. */
  readonly harvest: Harvest | null
  readonly log: Log
}

/** What arriving mail shows of signatures and keys is looked at as it is stored. */
export function examiningArrivals(means: ExaminingMeans): Arrivals {
  return {
    async examine(spoolId, message, entry) {
      const arrived = await readArrived(message)
      const field = await verdictOn(spoolId, arrived, entry, means)
      await harmless(() => learn(arrived, entry, means), undefined, means)
      return field
    },
  }
}

/** Decided once: who the author's key is may be answered differently when delivery is tried again. */
async function verdictOn(
  spoolId: string,
  arrived: Arrived,
  entry: SpoolEntry,
  means: ExaminingMeans,
): Promise<string | null> {
  const seen = await seenSignature(arrived)
  if (seen === null) return null
  const { verdicts, harvest, log, authservId } = means
  const kept = verdicts.find(spoolId)
  if (kept !== null) return kept
  const { verdict, signer } = await harmless<Verified>(
    () => verifySignature(arrived, seen, entry.receivedAt, means),
    { verdict: { by: methodOf(seen), result: "neutral", because: "it could not be verified" }, signer: null },
    means,
  )
  const author = authenticAuthor(arrived, entry)
  if (harvest !== null && signer !== null && author !== null)
    harvestSigner(arrived, author, signer, entry.receivedAt, harvest)
  log.info("mail.signature", { id: spoolId, method: verdict.by, result: verdict.result, because: verdict.because })
  return verdicts.keep(spoolId, signatureField(authservId, verdict), entry.receivedAt)
}

/** What goes wrong here is a mistake of ours, and no reason to keep somebody's mail from him. That the state is away is: it is tried again. */
async function harmless<T>(look: () => Promise<T>, otherwise: T, { log }: ExaminingMeans): Promise<T> {
  try {
    return await look()
  } catch (error) {
    if (hasCode(error, "STATE_AWAY")) throw error
    log.error("mail.not-examined", {}, error)
    return otherwise
  }
}

function methodOf(seen: SeenSignature): SignedBy {
  if (seen.kind === "opaque") return "smime"
  return seen.kind === "cleartext" ? "openpgp" : seen.by
}

/** Only from mail that the author's domain stands for: anybody else could have it say what they like. */
async function learn(arrived: Arrived, entry: SpoolEntry, { peers, harvest }: ExaminingMeans): Promise<void> {
  const author = authenticAuthor(arrived, entry)
  if (author === null) return
  if (peers !== null) learnAutocrypt(arrived, author, entry.receivedAt, peers)
  if (harvest !== null) await harvestAttached(arrived, author, entry.receivedAt, harvest)
}
