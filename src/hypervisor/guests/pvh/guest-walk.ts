/**
 * Walks through a PVH guest's page tables that only look: no accessed bits, no rights asked for. Written apart from the walks that
 * accesses take (the machine's, and linear-access.ts), so that a check does not share their faults. Two levels of 4-byte entries,
 * three or four of 8 bytes, by way of the physical map.
 * Reference: Intel SDM volume 3, 4.3 to 4.5.
 */
import { TWO_32, bigFromParts } from '../../../util/index.ts'
import { CR0, CR4, PAGE_SHIFT, PAGE_SIZE, PTE } from '../../../x86/index.ts'
import type { WalkStep } from '../../domains/crash-report.ts'
import type { Leaf } from '../../domains/guest-vcpu.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { PvhVcpu } from './pvh-vcpu.ts'

/** One level of a walk. */
interface Step {
  readonly level: number
  readonly index: number
  readonly low: number
  readonly high: number
}

interface Walk {
  readonly steps: readonly Step[]
  /** Guest-physical address; undefined where the walk ends before it. */
  readonly physical: number | undefined
}

const NO_EXECUTE = 0x8000_0000

/** The walk to an address as far as it goes. */
function walk({ words }: GuestMemory, { processor: { registers }, domain: { physmap }, isLong }: PvhVcpu, address: number): Walk {
  const linear = isLong ? BigInt.asUintN(48, BigInt(address)) : BigInt.asUintN(32, BigInt(address))
  if ((registers.controlLow(0) & CR0.PG) === 0) return { steps: [], physical: Number(linear) }
  const isWide = isLong || (registers.controlLow(4) & CR4.PAE) !== 0
  const levels = isLong ? 4 : isWide ? 3 : 2
  const [bits, size] = isWide ? [9, 8] : [10, 4]
  const steps: Step[] = []
  let table = (registers.controlLow(3) & (levels === 3 ? ~31 : ~4095)) >>> 0
  for (let level = levels; level > 0; level -= 1) {
    const shift = 12 + bits * (level - 1)
    const index = Number((linear >> BigInt(shift)) & (2n ** BigInt(bits) - 1n))
    const at = table + index * size
    const mfn = physmap.present(Math.floor(at / PAGE_SIZE))
    if (mfn < 0) break
    const word = mfn * 1024 + ((at & 4095) >> 2)
    const [low, high] = [words[word]!, size === 8 ? words[word + 1]! : 0]
    steps.push({ level, index, low, high })
    if ((low & PTE.PRESENT) === 0 || (high & 0x000f_ff00) !== 0) break
    const above = (high & 0xff) * TWO_32
    const isLeaf = level === 1 || (level < levels && (low & PTE.LARGE) !== 0) || (levels === 2 && level === 2 && (low & PTE.LARGE) !== 0)
    const within = 2 ** shift
    if (isLeaf) return { steps, physical: above + Math.floor(((low & ~4095) >>> 0) / within) * within + Number(linear % BigInt(within)) }
    table = above + ((low & ~4095) >>> 0)
  }
  return { steps, physical: undefined }
}

/** Where an address leads; undefined where an entry is not present, or nothing lies there. */
export function lookThrough(memory: GuestMemory, pvh: PvhVcpu, address: number): Leaf | undefined {
  const { steps, physical } = walk(memory, pvh, address)
  const frame = physical === undefined ? -1 : pvh.domain.physmap.present(Math.floor(physical / PAGE_SIZE))
  if (frame < 0) return undefined
  // The top level of three has no rights.
  const rights = steps.filter((_, i) => !(steps.length === 3 && i === 0 && !pvh.isLong))
  return {
    frame, writable: rights.every(({ low }) => (low & PTE.WRITABLE) !== 0), user: rights.every(({ low }) => (low & PTE.USER) !== 0),
    executable: rights.every(({ high }) => (high & NO_EXECUTE) === 0), accessed: steps.every(({ low }) => (low & PTE.ACCESSED) !== 0), dirty: ((steps.at(-1)?.low ?? 0) & PTE.DIRTY) !== 0,
  }
}

/** The walk as a crash report shows it. */
export const walkSteps = (memory: GuestMemory, pvh: PvhVcpu, address: number): WalkStep[] =>
  walk(memory, pvh, address).steps.map(({ level, index, low, high }) => ({
    level, index, entry: bigFromParts(low, high), pfn: BigInt(low >>> PAGE_SHIFT) + (BigInt(high & 0xff) << 20n),
  }))
