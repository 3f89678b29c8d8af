/**
 * Square roots modulo the prime of P-256, which turn an x-coordinate into a point. OpenSSL's way through node:crypto
 * (ECDH.convertKey) takes 35 microseconds, BigInt 140, this WebAssembly about 9. Nothing here is secret: the points are in the message.
 */

/**
 * The even y (32 octets, big-endian) of the points of the curve with this x: y^2 = x^3 - 3x + b (SEC 2 §2.4.2).
 * @returns null when there is no such point
 */
export function p256EvenY(x: Uint8Array): Uint8Array | null {
  const { multiply, square, equation } = FIELD
  writeLimbs(X, x)
  multiply(X, X, RADIX_SQUARED)
  square(T, X, 1)
  multiply(T, T, X)
  equation(A, T, X)
  root(T, A)
  square(U, T, 1)
  if (!sameNumber(U, A)) return null
  multiply(T, T, ONE)
  if (limb(T, 0) % 2 === 1) negate(T)
  return readLimbs(T)
}

/** a^((p+1)/4), with (p+1)/4 = ((2^32-1) * 2^32 + 1) * 2^96 + 1) * 2^94. */
function root(result: number, a: number): void {
  const { multiply, square } = FIELD
  // From a^(2^n - 1) to a^(2^2n - 1), five times.
  square(result, a, 1)
  multiply(result, result, a)
  for (let n = 2; n < 32; n *= 2) {
    square(U, result, n)
    multiply(result, result, U)
  }
  square(result, result, 32)
  multiply(result, result, a)
  square(result, result, 96)
  multiply(result, result, a)
  square(result, result, 94)
}

/** Two numbers with the Montgomery factor are the same when they are the same without. */
function sameNumber(a: number, b: number): boolean {
  FIELD.multiply(U, a, ONE)
  FIELD.multiply(V, b, ONE)
  for (let index = 0; index < LIMBS; index++) if (limb(U, index) !== limb(V, index)) return false
  return true
}

/** p - y. */
function negate(address: number): void {
  let borrow = 0
  for (let index = 0; index < LIMBS; index++) {
    const difference = limb(PRIME, index) - limb(address, index) - borrow
    borrow = difference < 0 ? 1 : 0
    LOW_HALVES[address / 4 + 2 * index] = difference & LIMB_MASK
  }
}

/** 32 octets, big-endian, into nine limbs. */
function writeLimbs(address: number, octets: Uint8Array): void {
  for (let index = 0; index < LIMBS; index++) {
    let value = 0
    for (let bit = LIMB_BITS * (index + 1) - 1; bit >= LIMB_BITS * index; ) {
      // Whole octets where they fit, for speed; bit counts from the least significant.
      const low = Math.max(LIMB_BITS * index, bit & ~7)
      const octet = bit < 256 ? (octets[31 - (bit >> 3)] ?? 0) : 0
      value = (value << (bit - low + 1)) | ((octet >> (low & 7)) & ((1 << (bit - low + 1)) - 1))
      bit = low - 1
    }
    LOW_HALVES[address / 4 + 2 * index] = value
    LOW_HALVES[address / 4 + 2 * index + 1] = 0
  }
}

function readLimbs(address: number): Uint8Array {
  const octets = new Uint8Array(32)
  for (let at = 0; at < 32; at++) {
    const index = Math.floor((8 * at) / LIMB_BITS)
    const shift = 8 * at - LIMB_BITS * index
    const above = shift > LIMB_BITS - 8 ? limb(address, index + 1) << (LIMB_BITS - shift) : 0
    octets[31 - at] = (limb(address, index) >> shift) | above
  }
  return octets
}

function limb(address: number, index: number): number {
  return LOW_HALVES[address / 4 + 2 * index] ?? 0
}

interface Field {
  readonly memory: { readonly buffer: ArrayBuffer }
  /** result = a * b * 2^-261; arguments are addresses of nine limbs. */
  readonly multiply: (result: number, a: number, b: number) => void
  /** result = a^(2^times), each step with the factor 2^-261. */
  readonly square: (result: number, a: number, times: number) => void
  /** result = a - 3b + the curve's b, with the factor 2^261 as a and b have it. */
  readonly equation: (result: number, a: number, b: number) => void
}

/** Nine limbs of 29 bits: a column of products stays below 2^62, so carries wait until the end. */
const LIMBS = 9
const LIMB_BITS = 29
const LIMB_MASK = 0x1fff_ffff
/** Addresses in the module's memory: working numbers, then constants. */
const [X, A, T, U, V, ONE, PRIME, RADIX_SQUARED, CURVE_B] = [0, 128, 256, 384, 512, 640, 768, 896, 1024] as const

/** Assembles the module: WebAssembly's binary format, sections of type, function, memory, export and code. */
function instantiate(): Field {
  const bytes = Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [[0x60, 3, I32, I32, I32, 0]]),
    ...section(3, [[0], [0], [0]]),
    ...section(5, [[0, 1]]),
    ...section(7, [
      exported("memory", 2, 0),
      exported("multiply", 0, 0),
      exported("square", 0, 1),
      exported("equation", 0, 2),
    ]),
    ...section(10, [multiplyCode(), squareCode(), equationCode()]),
  ])
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes))
  const field = instance.exports as Field
  const limbs = new BigInt64Array(field.memory.buffer)
  const p = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n
  const b = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn
  const constants: [address: number, value: bigint][] = [
    [ONE, 1n],
    [PRIME, p],
    [RADIX_SQUARED, 2n ** 522n % p],
    // 4p more, so that taking away three times a number leaves something positive.
    [CURVE_B, ((b * 2n ** 261n) % p) + 4n * p],
  ]
  for (const [address, value] of constants)
    for (let index = 0; index < LIMBS; index++)
      limbs[address / 8 + index] = (value >> BigInt(LIMB_BITS * index)) & BigInt(LIMB_MASK)
  return field
}

/** Locals: the three arguments, then factors a and b, product columns t, and m. */
const a = (limb: number): number => 3 + limb
const b = (limb: number): number => 12 + limb
const t = (column: number): number => 21 + column
const M = 39

function multiplyCode(): number[] {
  const code = [...load(1, a), ...load(2, b)]
  for (let column = 0; column < 2 * LIMBS; column++) {
    const terms = pairs(column).map(([i, j]) => [...get(a(i)), ...get(b(j)), I64_MUL])
    code.push(...sum(terms), ...set(t(column)))
  }
  return functionBody([...code, ...reduce(), ...store()])
}

function squareCode(): number[] {
  const step: number[] = []
  for (let column = 0; column < 2 * LIMBS; column++) {
    const mixed = pairs(column).filter(([i, j]) => i < j)
    const terms = mixed.map(([i, j]) => [...get(a(i)), ...get(a(j)), I64_MUL])
    const doubled = terms.length > 0 ? [[...sum(terms), ...constant(1), I64_SHL]] : []
    const middle =
      column % 2 === 0 && column < 2 * LIMBS - 1 ? [[...get(a(column / 2)), ...get(a(column / 2)), I64_MUL]] : []
    step.push(...sum([...doubled, ...middle]), ...set(t(column)))
  }
  step.push(...reduce())
  const countDown = [...get(2), I32_CONST, 1, I32_SUB, LOCAL_TEE, 2, BRANCH_IF, 0]
  return functionBody([...load(1, a), LOOP, NO_VALUE, ...step, ...countDown, END, ...store()])
}

function equationCode(): number[] {
  const code = [...load(1, a), ...load(2, b)]
  for (let index = 0; index < LIMBS; index++) {
    const constantB = [I32_CONST, ...signed(CURVE_B), I64_LOAD, 3, ...unsigned(8 * index)]
    const threefold = [...get(b(index)), ...constant(3), I64_MUL, I64_SUB]
    code.push(...get(a(index)), ...threefold, ...constantB, I64_ADD, ...set(t(index)))
  }
  for (let index = 0; index < LIMBS - 1; index++)
    code.push(...carry(t(index), t(index + 1)), ...get(t(index)), ...constant(LIMB_MASK), I64_AND, ...set(a(index)))
  return functionBody([...code, ...get(t(LIMBS - 1)), ...set(a(LIMBS - 1)), ...store()])
}

/**
 * Montgomery's reduction. -p^-1 = 1 modulo 2^29, so the multiple of p that clears a column is the column itself; then
 * m*p = m * (2^256 - 2^224 + 2^192 + 2^96 - 1) is added by shifts. Leaves the result, carried, in the limbs of a.
 */
function reduce(): number[] {
  const code: number[] = []
  for (let column = 0; column < LIMBS; column++) {
    code.push(...get(t(column)), ...constant(LIMB_MASK), I64_AND, ...set(M))
    for (const [limb, shift, operation] of MULTIPLE_OF_P)
      code.push(...get(t(column + limb)), ...get(M), ...constant(shift), I64_SHL, operation, ...set(t(column + limb)))
    code.push(...carry(t(column), t(column + 1)))
  }
  for (let column = LIMBS; column < 2 * LIMBS - 1; column++) {
    code.push(...carry(t(column), t(column + 1)))
    code.push(...get(t(column)), ...constant(LIMB_MASK), I64_AND, ...set(a(column - LIMBS)))
  }
  return [...code, ...get(t(2 * LIMBS - 1)), ...set(a(LIMBS - 1))]
}

function carry(from: number, to: number): number[] {
  return [...get(to), ...get(from), ...constant(LIMB_BITS), I64_SHR_S, I64_ADD, ...set(to)]
}

/** Limbs whose product belongs to a column. */
function pairs(column: number): [number, number][] {
  return Array.from({ length: LIMBS }, (_, i): [number, number] => [i, column - i]).filter(
    ([, j]) => j >= 0 && j < LIMBS,
  )
}

function sum(terms: readonly (readonly number[])[]): number[] {
  if (terms.length === 0) return constant(0)
  return terms.flatMap((term, index) => (index === 0 ? [...term] : [...term, I64_ADD]))
}

function load(address: number, to: (limb: number) => number): number[] {
  return Array.from({ length: LIMBS }, (_, limb) => [...get(address), I64_LOAD, 3, 8 * limb, ...set(to(limb))]).flat()
}

function store(): number[] {
  return Array.from({ length: LIMBS }, (_, limb) => [...get(0), ...get(a(limb)), I64_STORE, 3, 8 * limb]).flat()
}

function functionBody(code: readonly number[]): number[] {
  const body = [1, M - 2, I64, ...code, END]
  return [...unsigned(body.length), ...body]
}

function section(id: number, items: readonly (readonly number[])[]): number[] {
  const content = [...unsigned(items.length), ...items.flat()]
  return [id, ...unsigned(content.length), ...content]
}

function exported(name: string, kind: number, index: number): number[] {
  return [name.length, ...new TextEncoder().encode(name), kind, index]
}

function get(local: number): number[] {
  return [LOCAL_GET, local]
}

function set(local: number): number[] {
  return [LOCAL_SET, local]
}

function constant(value: number): number[] {
  return [I64_CONST, ...signed(value)]
}

/** LEB128. */
function unsigned(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >> 7)]
}

function signed(value: number): number[] {
  return value < 64 ? [value] : [(value & 127) | 128, ...signed(value >> 7)]
}

const I32 = 0x7f
const I64 = 0x7e
const LOOP = 0x03
const NO_VALUE = 0x40
const END = 0x0b
const BRANCH_IF = 0x0d
const LOCAL_GET = 0x20
const LOCAL_SET = 0x21
const LOCAL_TEE = 0x22
const I64_LOAD = 0x29
const I64_STORE = 0x37
const I32_CONST = 0x41
const I64_CONST = 0x42
const I32_SUB = 0x6b
const I64_ADD = 0x7c
const I64_SUB = 0x7d
const I64_MUL = 0x7e
const I64_AND = 0x83
const I64_SHL = 0x86
const I64_SHR_S = 0x87
/** Where, shifted by how much, and with which sign m is added; limb 0 clears itself. */
const MULTIPLE_OF_P: readonly (readonly [limb: number, shift: number, operation: number])[] = [
  [3, 9, I64_ADD],
  [6, 18, I64_ADD],
  [7, 21, I64_SUB],
  [8, 24, I64_ADD],
]

/** TypeScript's own declaration comes with the DOM library only. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object) => { readonly exports: unknown }
}

const FIELD: Field = instantiate()
/** The lower 32 bits of a limb are all of it, wherever one is looked at. */
const LOW_HALVES = new Int32Array(FIELD.memory.buffer)
