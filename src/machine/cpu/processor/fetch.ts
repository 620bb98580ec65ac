/**
 * Blocks for generated code that has none at hand: found or decoded at rip, or cut short where the budget does not reach
 * the end of one.
 */
import { PAGE_SIZE } from '../../../x86/index.ts'
import type { CodePlace } from '../code/code-cache.ts'
import type { Views } from '../core/core.ts'
import { CODE_LINE } from '../handlers/prices.ts'
import { BLOCK } from '../layout/record.ts'
import { ACCESS, JUMP, SCRATCH_BLOCK, State } from '../layout/state.ts'
import type { Engine } from './engine.ts'

/** What of a processor is looked at. */
type Fetching = Views<'registers' | 'memory' | 'segments' | 'progress'>

/** Where code is to be decoded; one object, used again. */
class FetchPlace implements CodePlace {
  host = 0
  mode = 0
  rip = 0
  private readonly core: Fetching

  constructor(core: Fetching) {
    this.core = core
  }

  nextPage(): number {
    const behind = (Math.floor(this.rip / PAGE_SIZE) + 1) * PAGE_SIZE
    return this.core.memory.translate(this.core.registers.long ? behind : behind % 0x1_0000_0000, ACCESS.EXECUTE)
  }
}

/** Fetches blocks for one core. */
export class BlockFetcher {
  /** What the last fetch costs beyond the instructions themselves. */
  price = 0
  private readonly core: Fetching
  private readonly engine: Engine
  private readonly place: FetchPlace

  constructor(core: Fetching, engine: Engine) {
    this.core = core
    this.engine = engine
    this.place = new FetchPlace(core)
  }

  /**
   * Finds or decodes the block at rip and enters it into the jump cache where that is not done by generated code; 0 on
   * a fault.
   */
  fetch(): number {
    const { registers, memory, segments, progress } = this.core
    this.price = 0
    if (!segments.codeAllows(registers.rip)) return 0
    const rip = registers.linearRip
    const host = memory.translate(rip, ACCESS.EXECUTE)
    if (host === 0) return 0
    const { place } = this
    const { code } = this.engine
    place.host = host
    place.mode = State.mode.get(registers.view, registers.base)
    place.rip = rip
    const known = code.findCrossing(place)
    if (known !== 0) {
      this.rememberJump(known)
      return known
    }
    const block = code.decode(place)
    if (progress.countsWork) this.price = code.freshLines * CODE_LINE
    return block
  }

  /** Enters a block into the jump cache for rip. */
  private rememberJump(block: number): void {
    const { view, base } = this.core.registers
    const [low, high] = [State.rip.low(view, base), State.rip.high(view, base)]
    const index = (low ^ ((low >>> 11) | (high << 21))) & (JUMP.entries - 1)
    const entry = base + JUMP.offset + index * JUMP.entryBytes
    view.setUint32(entry, low, true)
    view.setUint32(entry + 4, high, true)
    view.setUint32(entry + JUMP.context, State.context.get(view, base), true)
    view.setUint32(entry + JUMP.block, block, true)
  }

  /**
   * A copy of the block that generated code could not pay for, cut to what is left; 0 when only the slice was too short
   * for it, so that it is found and executed whole.
   */
  shorten(left: number): number {
    const { view, base } = this.core.registers
    const block = this.engine.code.fronts.behind(State.record.get(view, base))
    if (left >= view.getUint32(block + BLOCK.count, true)) return 0
    const target = base + SCRATCH_BLOCK.offset
    this.engine.clipper.clip(block, left, target)
    return target
  }
}
