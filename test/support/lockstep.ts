/**
 * Two that are to do the same, side by side: both go on by the same number of instructions, then everything that can be
 * seen of them has to be equal. It tells the first piece in which they part, and how small a piece shows it.
 *
 * One that never comes back would hold the whole test: `withinSeconds` ends it.
 */
import { Script } from 'node:vm'
import { EXIT, type Processor } from '../../src/machine/index.ts'
import { GPR, SEGMENT } from '../../src/x86/index.ts'

/** What can be seen of something at one point of its run, by name. */
export type Snapshot = Readonly<Record<string, string>>

/** Something that runs for as long as it is told to. */
export interface Runner {
  /** Goes on by so many instructions at most; false once it has ended. */
  advance(count: number): boolean
  /** Instructions done. */
  readonly done: number
  snapshot(): Snapshot
}

/** Where two have parted. */
export interface Divergence {
  /** Instructions that both had done when they were equal for the last time. */
  readonly after: number
  /** Instructions of the piece in which they parted. */
  readonly piece: number
  /** What differs, in words. */
  readonly differences: readonly string[]
}

/** How two are compared. */
export interface LockstepOptions {
  /** Instructions between two comparisons, of how many pieces have been compared. */
  readonly every: number | ((pieces: number) => number)
  /** Pieces after which a run that has not ended is an error. */
  readonly most: number
}

/** The same one that goes on in slices of its own. */
export function slicedBy(runner: Runner, slice: number): Runner {
  return {
    get done() { return runner.done },
    snapshot: () => runner.snapshot(),
    advance: (count) => {
      for (const end = runner.done + count; runner.done < end;) if (!runner.advance(Math.min(slice, end - runner.done))) return false
      return true
    },
  }
}

/** Lets both go on; what differs behind it. */
function compare(one: Runner, other: Runner, piece: number): { readonly goesOn: boolean; readonly differences: readonly string[] } {
  const goesOn = [one.advance(piece), other.advance(piece)] as const
  const seen = (runner: Runner, index: 0 | 1): Snapshot => ({ ...runner.snapshot(), done: String(runner.done), 'goes on': String(goesOn[index]) })
  return { goesOn: goesOn[0], differences: differencesOf(seen(one, 0), seen(other, 1)) }
}

const pieceOf = ({ every }: LockstepOptions, pieces: number): number => (typeof every === 'number' ? every : every(pieces))

/** Runs two side by side to their end; where they part, undefined when they do not. */
export function lockstep(one: Runner, other: Runner, options: LockstepOptions): Divergence | undefined {
  for (let pieces = 0; pieces < options.most; pieces += 1) {
    const after = one.done
    const piece = pieceOf(options, pieces)
    const { goesOn, differences } = compare(one, other, piece)
    if (differences.length > 0) return { after, piece, differences }
    if (!goesOn) return undefined
  }
  throw new Error(`no end after ${options.most} pieces`)
}

/**
 * The same with two that can be made anew: where they part, the piece is cut down to the smallest, from the same point on, that
 * shows it.
 */
export function lockstepNarrowed(make: () => readonly [Runner, Runner], options: LockstepOptions): Divergence | undefined {
  const found = lockstep(...make(), options)
  if (found === undefined) return undefined
  const again = (piece: number): readonly string[] => {
    const [one, other] = make()
    for (let pieces = 0; one.done < found.after; pieces += 1) for (const runner of [one, other]) runner.advance(pieceOf(options, pieces))
    return compare(one, other, piece).differences
  }
  let least = found
  for (let low = 0, high = found.piece; high - low > 1;) {
    const piece = Math.floor((low + high) / 2)
    const differences = again(piece)
    if (differences.length === 0) low = piece
    else {
      high = piece
      least = { after: found.after, piece, differences }
    }
  }
  return least
}

/** What differs between two snapshots. */
export function differencesOf(one: Snapshot, other: Snapshot): string[] {
  const names = new Set([...Object.keys(one), ...Object.keys(other)])
  return [...names].filter((name) => one[name] !== other[name]).map((name) => `${name}: ${one[name] ?? 'nothing'}, other ${other[name] ?? 'nothing'}`)
}

const hex = (high: number, low: number): string => `${high.toString(16)}_${low.toString(16).padStart(8, '0')}`

/** Everything of a processor that programs can see, but memory. */
export function registersOf(processor: Processor): Snapshot {
  const { registers, exit } = processor
  const general = Object.entries(GPR).map(([name, number]) => [name, hex(registers.high(number), registers.low(number))] as const)
  const segments = Object.entries(SEGMENT).map(([name, number]) => {
    const { selector, baseHigh, baseLow } = registers.segment(number)
    return [name, `${selector.toString(16)} ${hex(baseHigh, baseLow)}`] as const
  })
  return {
    ...Object.fromEntries(general), ...Object.fromEntries(segments), rip: registers.rip().toString(16), flags: registers.flags().toString(16),
    cr2: hex(registers.controlHigh(2), registers.controlLow(2)), floats: Buffer.from(processor.saveFpu()).toString('base64'),
    // A spent budget leaves the details of the exit before.
    exit: exit.reason === EXIT.BUDGET ? 'budget' : `${exit.reason} ${exit.vector} ${exit.errorCode} ${exit.address.toString(16)}`,
  }
}

/** Names a body has while it runs. */
const bodies: { current?: () => unknown } = {}
Object.assign(globalThis, { [Symbol.for('paravirt.test.bodies')]: bodies })
const caller = new Script("globalThis[Symbol.for('paravirt.test.bodies')].current()")

/** What `body` gives; an error when it has not come back in so many seconds, generated code in an endless loop included. */
export function withinSeconds<T>(seconds: number, body: () => T): T {
  const outer = bodies.current
  bodies.current = body
  try {
    // The script gives what the body gives.
    return caller.runInThisContext({ timeout: seconds * 1000 }) as T
  } finally {
    if (outer === undefined) delete bodies.current
    else bodies.current = outer
  }
}
