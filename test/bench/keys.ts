import { makeAccountKey } from "../../src/crypto/openpgp/account-key.ts"
import { parseAddress } from "../../src/message/address.ts"
import { answerOf, answerText } from "../../src/profiles/answer-text.ts"
import { Discovery } from "../../src/profiles/discover.ts"
import type { KeySource, SourceAnswer } from "../../src/profiles/key.ts"
import { judge } from "../../src/profiles/usable.ts"
import { KeptKeyAnswers } from "../../src/store/key-answers.ts"
import { KeptKeyMemory } from "../../src/store/key-memory.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { temporaryFolder } from "../harness/peers.ts"
import type { Row } from "./report.ts"

const RECIPIENTS = 1_000
const SOURCES = 8
const SLOW_MS = 3_000
const ROUNDS = 5
/** Burst memory is over, judgements are not. */
const LATER_MS = 60_000

/** Looking up recipients: those that were looked up before, by whatever process, and one of whom nothing is known while every source takes its time. */
export async function bench(): Promise<Row[]> {
  await using folder = await temporaryFolder()
  const state = openEmbeddedState(folder.file("data"))
  try {
    const answers = await keptFor(RECIPIENTS, new KeptKeyAnswers(state, 86_400e3))
    const anew: number[] = []
    const kept: number[] = []
    const again: number[] = []
    for (let round = 0; round < ROUNDS; round++) {
      // A process that begins: everything is in the state, nothing in its memory.
      let laterMs = 0
      const now = () => new Date(Date.now() + laterMs)
      const discovery = discoveryOver(answers, new KeptKeyMemory(state), [silentSource("wkd")], now)
      anew.push((await timed(() => resolveAll(discovery))) / RECIPIENTS)
      again.push((await timed(() => resolveAll(discovery))) / RECIPIENTS)
      laterMs = LATER_MS
      kept.push((await timed(() => resolveAll(discovery))) / RECIPIENTS)
    }
    return [
      {
        name: `a recipient of ${RECIPIENTS} from the state, whose key is judged anew`,
        unit: "ms",
        ours: anew,
        peer: null,
        target: null,
      },
      {
        name: `a recipient of ${RECIPIENTS} from the state, whose key was judged`,
        unit: "ms",
        ours: kept,
        peer: null,
        target: { kind: "at most", value: 1 },
      },
      {
        name: "a recipient that was looked up a moment ago",
        unit: "ms",
        ours: again,
        peer: null,
        target: { kind: "at most", value: 1 },
      },
      await cold(),
    ]
  } finally {
    state.close()
  }
}

/** All sources take the longest that is allowed: asked one after the other it would be eight times that. */
async function cold(): Promise<Row> {
  const slow = Array.from({ length: SOURCES }, (_, index) => silentSource(`source ${index}`))
  const discovery = discoveryOver({ find: () => null, keep: () => undefined }, NO_MEMORY, slow)
  // Timeouts alone keep no process running.
  const running = setInterval(() => undefined, SLOW_MS)
  const ms = await timed(() => discovery.resolve(parseAddress("new@else.test")))
  clearInterval(running)
  return {
    name: `a recipient that ${SOURCES} slow sources are asked for`,
    unit: "ms",
    ours: [ms],
    peer: null,
    target: { kind: "at most", value: SLOW_MS + 200 },
  }
}

type Answers = ConstructorParameters<typeof Discovery>[0]["answers"]
type Memory = ConstructorParameters<typeof Discovery>[0]["memory"]

const NO_MEMORY: Memory = { of: () => [], trustsOf: () => [], saw: () => undefined }

function discoveryOver(
  answers: Answers,
  memory: KeptKeyMemory | Memory,
  sources: readonly KeySource[],
  now = () => new Date(),
): Discovery {
  return new Discovery({
    sources,
    judge: (candidate, address, at) =>
      judge(
        candidate,
        address,
        { at, roots: [], revocation: { kind: "off" }, tags: false },
        AbortSignal.timeout(SLOW_MS),
      ),
    answers,
    memory: memory as Memory,
    keepFoundMs: 86_400e3,
    keepNoneMs: 3_600e3,
    timeoutMs: SLOW_MS,
    now,
  })
}

/** Each recipient has an OpenPGP key of his own. */
async function keptFor(count: number, kept: KeptKeyAnswers): Promise<Answers> {
  for (let index = 0; index < count; index++) {
    const address = addressOf(index)
    const { certificate } = await makeAccountKey({ name: "R", address, createdAt: new Date(Date.now() - 86_400e3) })
    const answer: SourceAnswer = {
      candidates: [
        {
          format: "openpgp",
          octets: certificate,
          chain: [],
          source: "wkd",
          trust: "domain",
          place: "",
          wish: null,
          lineage: null,
        },
      ],
      remarks: [],
    }
    kept.keep(address, "wkd", { text: answerText(answer), askedAt: new Date() })
  }
  return {
    find: (address, source) => {
      const found = kept.find(address, source)
      const answer = found && answerOf(found.text)
      return found && answer && { answer, askedAt: found.askedAt }
    },
    keep: () => undefined,
  }
}

async function resolveAll(discovery: Discovery): Promise<void> {
  for (let index = 0; index < RECIPIENTS; index++) {
    const { keys } = await discovery.resolve(parseAddress(addressOf(index)))
    if (keys.length !== 1) throw new Error(`${addressOf(index)}: ${keys.length} keys`)
  }
}

function silentSource(name: string): KeySource {
  return { name, trust: "domain", lookup: () => new Promise(() => undefined) }
}

function addressOf(index: number): string {
  return `r${index}@else.test`
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const begun = performance.now()
  await act()
  return performance.now() - begun
}
