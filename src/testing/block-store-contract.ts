/**
 * What every block store must do, as a list of checks: a store's own test registers them with whatever runner it has.
 * Each check makes its own store and throws INVALID_STATE with what was wrong.
 */
import type { BlockStore } from '../drivers/index.ts'
import { SeededRandom, XenError, below, checkArgument, fillRandom, having } from '../util/index.ts'

/** How a kind of store is made. */
export interface BlockStoreMaker {
  /** A writable store of `size` bytes that holds zeros. */
  make(size: number): BlockStore | Promise<BlockStore>
  /** A store that cannot be written; without it the check of one is left out. */
  makeReadOnly?(size: number): BlockStore | Promise<BlockStore>
  /** Called behind each check, when its store has been closed. */
  cleanUp?(): void | Promise<void>
}

/** One check. */
export interface ContractCheck {
  /** What the store must do, as a sentence. */
  readonly name: string
  /** Why it does not apply to this kind of store; undefined when it does. */
  readonly skip: string | undefined
  /** Rejects when the store does not do it. */
  run(): Promise<void>
}

const SIZE = 100 * 4096 + 512
const SECTOR = 512

function expectThat(holds: boolean, what: string): void {
  if (!holds) throw new XenError('INVALID_STATE', `the block store ${what}`, { details: { what } })
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, at) => byte === b[at])

/** The code of what a call throws or rejects with; undefined when it succeeds. */
async function codeOf(call: () => void | Promise<void>): Promise<string | undefined> {
  try {
    await call()
    return undefined
  } catch (error) {
    if (XenError.is(error)) return error.code
    throw error
  }
}

async function expectCode(call: () => void | Promise<void>, code: string, what: string): Promise<void> {
  const found = await codeOf(call)
  expectThat(found === code, `${what}: ${found ?? 'nothing was thrown'}, not ${code}`)
}

async function holdsZeros(store: BlockStore): Promise<void> {
  const bytes = new Uint8Array(SIZE).fill(1)
  await store.read(0, bytes)
  expectThat(store.size === SIZE, `has ${store.size} bytes, not ${SIZE}`)
  expectThat(!store.readOnly, 'is read-only')
  expectThat(bytes.every((byte) => byte === 0), 'holds something from the start')
}

/** One random request, done to the store and to an array of bytes alike. */
async function requestBoth(store: BlockStore, model: Uint8Array, random: SeededRandom): Promise<void> {
  const length = SECTOR * (1 + below(random, 40))
  const offset = SECTOR * below(random, (SIZE - length) / SECTOR + 1)
  const bytes = new Uint8Array(length)
  if (below(random, 5) === 0 && store.discard !== undefined) {
    await store.discard(offset, length)
    model.fill(0, offset, offset + length)
  } else if (below(random, 2) === 0) {
    fillRandom(random, bytes)
    await store.write(offset, bytes)
    model.set(bytes, offset)
  } else {
    await store.read(offset, bytes)
    expectThat(isSame(bytes, model.subarray(offset, offset + length)), `reads something else at ${offset} than was written`)
  }
}

async function readsBack(store: BlockStore): Promise<void> {
  const model = new Uint8Array(SIZE)
  const random = new SeededRandom(21)
  for (let request = 0; request < 300; request += 1) await requestBoth(store, model, random)
  await store.flush()
  const all = new Uint8Array(SIZE)
  await store.read(0, all)
  expectThat(isSame(all, model), 'holds something else in the end than was written')
}

async function keepsWritesApart(store: BlockStore): Promise<void> {
  const parts = Array.from({ length: 8 }, (_, part) => new Uint8Array(SECTOR).fill(part + 1))
  await Promise.all(parts.map((bytes, part) => store.write(4096 + part * SECTOR, bytes)))
  const bytes = new Uint8Array(4096)
  await store.read(4096, bytes)
  for (let part = 0; part < 8; part += 1) {
    const found = bytes[part * SECTOR + SECTOR - 1]
    expectThat(found === part + 1, `has ${found} in sector ${part} of eight that were written at once, not ${part + 1}`)
  }
}

async function refusesWhatIsOutside(store: BlockStore): Promise<void> {
  const bytes = new Uint8Array(1024).fill(7)
  for (const offset of [SIZE - SECTOR, SIZE, -SECTOR, 0.5, Number.NaN, 2 ** 53]) {
    await expectCode(() => store.read(offset, bytes), 'INVALID_ARGUMENT', `reads 1024 bytes at ${offset}`)
    await expectCode(() => store.write(offset, bytes), 'INVALID_ARGUMENT', `writes 1024 bytes at ${offset}`)
  }
  const end = new Uint8Array(SECTOR)
  await store.read(SIZE - SECTOR, end)
  expectThat(end.every((byte) => byte === 0), 'was written by a request that it refused')
}

async function changesItsSize(store: BlockStore): Promise<void> {
  if (store.resize === undefined) return
  let told = 0
  const end = store.onResize?.(() => { told += 1 })
  await store.write(SIZE - SECTOR, new Uint8Array(SECTOR).fill(7))
  await store.resize(SIZE + SECTOR)
  const last = new Uint8Array(2 * SECTOR)
  await store.read(SIZE - SECTOR, last)
  expectThat(store.size === SIZE + SECTOR && last[0] === 7 && last.subarray(SECTOR).every((byte) => byte === 0), 'has not grown by zeros')
  await store.resize(SECTOR)
  await expectCode(() => store.read(SECTOR, new Uint8Array(SECTOR)), 'INVALID_ARGUMENT', 'reads what was cut off')
  for (const size of [-SECTOR, 100, Number.NaN]) await expectCode(() => store.resize?.(size), 'INVALID_ARGUMENT', `takes ${size} for a size`)
  expectThat(store.size === SECTOR && (end === undefined || told === 2), 'has not told of its sizes')
  end?.()
}

async function refusesToBeWritten(store: BlockStore): Promise<void> {
  expectThat(store.readOnly, 'does not say that it is read-only')
  await expectCode(() => store.write(0, new Uint8Array(SECTOR)), 'PERMISSION_DENIED', 'is read-only and is written')
  if (store.discard !== undefined) await expectCode(() => store.discard?.(0, SECTOR), 'PERMISSION_DENIED', 'is read-only and discards')
  await store.read(0, new Uint8Array(SECTOR))
}

/**
 * The checks for one kind of store. Throws INVALID_ARGUMENT for what makes none.
 *
 * @example
 * for (const { name, skip, run } of blockStoreContract({ make: (size) => new MemoryBlockStore(size) })) {
 *   test.skipIf(skip !== undefined)(name, run)
 * }
 */
export function blockStoreContract(maker: BlockStoreMaker): readonly ContractCheck[] {
  checkArgument('maker', maker, having('make'))
  const check = (name: string, body: (store: BlockStore) => Promise<void>, make = maker.make.bind(maker), skip?: string): ContractCheck => ({
    name, skip,
    run: async () => {
      const store = await make(SIZE)
      try {
        await body(store)
      } finally {
        await store.close()
        await maker.cleanUp?.()
      }
    },
  })
  return [
    check('has the size it was made with and holds zeros', holdsZeros),
    check('reads back what was written and discarded, like an array of bytes', readsBack),
    check('keeps apart two writes that are under way in one cluster', keepsWritesApart),
    check('refuses what is not within it, and changes nothing', refusesWhatIsOutside),
    check('is made larger and smaller, where it can be', changesItsSize),
    check('refuses to be written when it is read-only', refusesToBeWritten, maker.makeReadOnly?.bind(maker) ?? maker.make.bind(maker),
      maker.makeReadOnly === undefined ? 'this kind of store is always writable' : undefined),
  ]
}
