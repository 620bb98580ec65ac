/**
 * What a processor has saved or taken back last, beside how its registers lay then: whether it is still that is told by comparing
 * these, of which nothing has to be worked out. What lies the same is the same; what lies differently - flags, which are kept lazily -
 * may be the same all the same, and is saved and compared.
 *
 * hot path: less than a microsecond for each processor of a host that is brought back.
 */
import { MSR } from '../../../x86/index.ts'
import { sameState } from '../../../util/index.ts'
import type { ProcessorState } from '../../interface/saved-state.ts'
import type { Core } from '../core/core.ts'
import { saveSystem } from './system-state.ts'

/** Ranges of a processor's area, in words, that hold registers: general ones to vectors; the mode; control to attributes; upper halves of vectors. */
const RANGES = [[0, 512], [520, 524], [704, 1104], [1216, 1472]].map(([from, to]) => [from! / 4, to! / 4] as const)
const WORDS = /* @__PURE__ */ RANGES.reduce((sum, [from, to]) => sum + to - from, 0)
const SEGMENTS = 6

/** The last saved state of one processor. */
export class LastSaved {
  private readonly core: Core
  private state: ProcessorState | undefined
  private readonly words = new Uint32Array(WORDS)
  private readonly bases = new Float64Array(SEGMENTS)

  constructor(core: Core) {
    this.core = core
  }

  /** The processor is in this state now. */
  note(state: ProcessorState): void {
    const { core: { registers, physical }, bases, words } = this
    const area = registers.base >>> 2
    let at = 0
    for (const [from, to] of RANGES) for (let word = from; word < to; word += 1) words[at++] = physical.words[area + word]!
    for (let index = 0; index < SEGMENTS; index += 1) bases[index] = registers.segmentBase(index)
    this.state = state
  }

  /** True where the processor has this state; one that is not the last one noted is not looked at. `done`: instructions since it was made. */
  is(state: ProcessorState, done: number): boolean {
    const { core } = this
    if (state !== this.state || !this.liesTheSame()) return false
    if (core.events.interruptShadow(done) !== state.shadow || core.debug.pending !== state.debugTrap) return false
    if (core.bare) return state.system !== undefined && sameState(saveSystem(core), state.system)
    return core.system.plain(MSR.TSC_AUX)![0] === (state.tscAux ?? 0)
  }

  private liesTheSame(): boolean {
    const { core: { registers, physical: { words: memory } }, bases, words } = this
    const area = registers.base >>> 2
    let at = 0
    for (const [from, to] of RANGES) for (let word = from; word < to; word += 1) if (words[at++] !== memory[area + word]) return false
    for (let index = 0; index < SEGMENTS; index += 1) if (bases[index] !== registers.segmentBase(index)) return false
    return true
  }
}
