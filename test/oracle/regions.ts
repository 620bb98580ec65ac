/**
 * The oracle's cases in compiled code: each is run by the interpreter first, which decodes it, then a region is made of it,
 * whatever samples would say, and it is run again. Everything must be as before, the flags that processors leave undefined too.
 *
 * A case ends after a number of instructions, and a region is entered only where the budget reaches farther than its block. So
 * behind the case, and where it leads, stands a jump to nowhere, which a region carries out: there both runs end, by a page fault.
 */
import type { Core } from '../../src/machine/cpu/core/core.ts'
import { State } from '../../src/machine/cpu/layout/state.ts'
import type { Engine } from '../../src/machine/cpu/processor/engine.ts'
import { EXIT_CAUSES, type ExitCause } from '../../src/machine/cpu/region/form/exit-causes.ts'
import type { Refusal } from '../../src/machine/cpu/region/form/region.ts'
import type { Machine } from '../../src/machine/index.ts'
import { differences } from './compare.ts'
import { HostedExecutor, type HostedOutcome } from './hosted.ts'
import { bytesOf } from './short-address.ts'
import { END, type OracleCase, type Patch, REGIONS } from './wire.ts'

/** Nothing is mapped there. */
const NOWHERE = 0x3000_0000
/** Bytes of JMP with 32 bits. */
const JUMP = 5
/** More instructions than any case has. */
const PLENTY = 4000
/** Nothing is compiled but what is asked for. */
const NEVER = Number.MAX_SAFE_INTEGER
/** Ways to leave a region behind its last instruction. */
const BEHIND: ReadonlySet<ExitCause> = new Set(['target', 'indirect', 'irreducible'])

/** What a processor keeps to itself. */
interface Inside {
  readonly core: Core
  readonly engine: Engine
}

/** How far a region has carried a case. */
export type Carried =
  /** To its end, whole. */
  | 'whole'
  /** A part of it; the interpreter did the rest. */
  | 'in part'
  /** There is no region at its first instruction. */
  | Refusal
  /** The case leads into its own code, or out of all that could be written. */
  | 'no end'

/** What a case has come to. */
export interface RegionResult {
  readonly carried: Carried
  /** Differences between region and interpreter, in words. */
  readonly found: readonly string[]
  /** The outcome as it is without the jump behind it: what natively has to come out of it. */
  readonly outcome?: HostedOutcome
}

/** Runs cases as regions. */
export class RegionExecutor {
  private readonly executor: HostedExecutor
  private readonly inside: Inside

  constructor(dataSeed: number, library?: { readonly Machine: typeof Machine }) {
    const compiler = { samples: NEVER, slice: 400_000 }
    this.executor = new HostedExecutor(dataSeed, library === undefined ? { compiler } : { compiler, library })
    this.inside = this.executor.processor as unknown as Inside
  }

  /** Runs a case by the interpreter and as a region; `known`: what it comes to. */
  run(one: OracleCase, known: HostedOutcome): RegionResult {
    const ended = withEnds(one, known)
    if (ended === undefined || known.uncompared) return { carried: 'no end', found: [] }
    const { executor } = this
    executor.load(ended)
    try {
      const expected = executor.runLoaded(ended)
      const run = executor.begin(ended)
      const made = this.inside.engine.compileAt(this.inside.core.registers.base)
      if (made !== 'installed') return { carried: made as Refusal, found: [] }
      while (run.advance(PLENTY));
      const carried = this.carried()
      const outcome = executor.finish(run)
      const found = differences(outcome, expected, { undefinedFlags: 0 })
      if (outcome.steps !== expected.steps) found.push(`steps ${outcome.steps}, processor ${expected.steps}`)
      return { carried, found: found.map((text) => text.replace('processor', 'interpreter')), outcome: withoutJump(one, outcome, known) }
    } finally {
      executor.unload(ended)
    }
  }

  /** Where the region was left last: the whole case lies behind it where nothing ran after it but the fetch that failed. */
  private carried(): Carried {
    const { view, base } = this.inside.core.registers
    const isLast = State.exitRecord.get(view, base) !== 0
    return isLast && BEHIND.has(EXIT_CAUSES[State.exitCause.get(view, base)]!) ? 'whole' : 'in part'
  }
}

/** The case with a jump to nowhere behind its code, and where it leads. */
function withEnds(one: OracleCase, { end, rip: [low, high] }: HostedOutcome): OracleCase | undefined {
  const [code] = one.patches
  const behind = code!.address + code!.bytes.length
  const places = [behind]
  if (end === END.STEPS && high === 0 && low !== behind && isCode(low)) {
    if (low > code!.address - JUMP && low < behind + JUMP) return undefined
    places.push(low)
  }
  if (!places.every((place) => isCode(place) && isCode(place + JUMP - 1))) return undefined
  return { ...one, steps: PLENTY, patches: [...one.patches, ...places.map(jumpAt)] }
}

/** The outcome of a case that has come to the jump and gone on to nowhere, as if it had ended before it. */
const withoutJump = (one: OracleCase, outcome: HostedOutcome, { rip }: HostedOutcome): HostedOutcome =>
  (outcome.rip[0] === NOWHERE && outcome.steps === one.steps + 1 ? { ...outcome, end: END.STEPS, error: 0, cr2: [0, 0], rip, steps: one.steps } : outcome)

const isCode = (address: number): boolean =>
  REGIONS.some(({ executable, address: first, pages }) => executable && address >= first && address < first + pages * 4096)

const jumpAt = (address: number): Patch => ({ address, bytes: Uint8Array.from([0xe9, ...bytesOf(NOWHERE - address - JUMP, 4)]) })
