/**
 * The state that a processor starts in: 64-bit mode, a hosted one in ring 3 (or in 32-bit code of ring 1) of a host that
 * keeps the state of SSE by XSAVE where there is that, a bare one in ring 0; and the one behind INIT, in real mode.
 */
import { ATTRIBUTE, CR0, CR4, DPL_SHIFT, EFER, PAGE_SIZE, RFLAGS, SEGMENT, XCR0 } from '../../../x86/index.ts'
import { USED_BYTES } from '../../memory/layout.ts'
import { isOffered } from '../cpuid/features.ts'
import type { Core } from '../core/core.ts'
import { resetFpu } from '../handlers/fpu.ts'
import { PRICE } from '../handlers/prices.ts'
import { State } from '../layout/state.ts'

/** Selectors and descriptor bits of flat segments: a bare processor's, and those that Xen gives its guests. */
const BARE = { code: 0x08, stack: 0x10, ring: 0 } as const
const HOSTED = { code: 0xe033, stack: 0xe02b, ring: ATTRIBUTE.DPL } as const
const COMPATIBLE = { code: 0xe019, stack: 0xe021, ring: 1 << DPL_SHIFT } as const
const SEGMENTS = [BARE, COMPATIBLE, undefined, HOSTED] as const
const FLAT = ATTRIBUTE.PRESENT | ATTRIBUTE.SEGMENT | ATTRIBUTE.ACCESSED | ATTRIBUTE.GRANULAR
const CODE_ATTRIBUTES = FLAT | ATTRIBUTE.CODE | ATTRIBUTE.READABLE
const STACK_ATTRIBUTES = FLAT | ATTRIBUTE.WRITABLE | ATTRIBUTE.BIG

/**
 * Resets a processor. Its area has been another's before: all of it is cleared that has not been cleared behind that one, for what is not a register outlives its
 * owner just as well. What the jump cache says of the old owner's addresses would be taken for this one's, as generations
 * begin anew.
 */
export function reset(core: Core): void {
  const { registers, physical: memory, mode, translations } = core
  const { view, base } = registers
  memory.bytes.fill(0, base, base + USED_BYTES)
  placeMemory(core)
  translations.clear()
  if (core.progress.countsWork) State.returnPrice.set(view, base, PRICE.farTransfer)
  resetFpu(core.registers)
  const hasXsave = !core.bare && isOffered('xsave', core.level)
  State.xcr0.set(view, base, hasXsave ? XCR0.X87 | XCR0.SSE : XCR0.X87)
  registers.setFlags(core.bare ? 0 : RFLAGS.IF)
  registers.efer = EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE
  const flat = { baseLow: 0, baseHigh: 0, limit: 0xffff_ffff }
  const { code, stack, ring } = SEGMENTS[core.kernelRing] ?? HOSTED
  const isLong = ring !== COMPATIBLE.ring
  // Code first: from then on nothing looks like code of another width, for which another module would be generated.
  mode.setSegment(SEGMENT.cs, { ...flat, selector: code, attributes: CODE_ATTRIBUTES | ring | (isLong ? ATTRIBUTE.LONG : ATTRIBUTE.BIG) })
  mode.setControl(0, (CR0.PE | CR0.MP | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.PG) >>> 0, 0)
  mode.setControl(4, CR4.PAE | (isLong ? CR4.PGE : 0) | CR4.OSFXSR | CR4.OSXMMEXCPT | (hasXsave ? CR4.OSXSAVE : 0), 0)
  mode.setSegment(SEGMENT.ss, { ...flat, selector: stack, attributes: STACK_ATTRIBUTES | ring })
  core.debug.reset()
  translations.flush()
}

const REAL_CODE = ATTRIBUTE.PRESENT | ATTRIBUTE.SEGMENT | ATTRIBUTE.CODE | ATTRIBUTE.READABLE | ATTRIBUTE.ACCESSED
const REAL_DATA = ATTRIBUTE.PRESENT | ATTRIBUTE.SEGMENT | ATTRIBUTE.WRITABLE | ATTRIBUTE.ACCESSED

/**
 * The state behind INIT and a start-up interrupt: real mode at `vector` times 4096. Model-specific registers other than EFER
 * stay, and so does XCR0, as on a processor; x87 and vectors are reset and all general registers are 0, as in Xen's guests.
 * Reference: Intel SDM volume 3, table 9-1; xen/arch/x86/hvm/hvm.c, hvm_vcpu_reset_state.
 */
export function startUp(core: Core, vector: number): void {
  const { registers, mode } = core
  for (let i = 0; i < 16; i += 1) registers.setSlot(i * 8, 0, 0)
  core.events.clear()
  core.debug.reset()
  resetFpu(registers)
  for (const [at, bytes] of [[State.xmm.offset, 256], [State.ymmHigh.offset, 256]] as const) {
    registers.bytes.fill(0, registers.base + at, registers.base + at + bytes)
  }
  core.system.resetTables()
  mode.setEfer(0)
  for (const control of [4, 3, 2, 8]) mode.setControl(control, 0, 0)
  mode.setControl(0, CR0.ET, 0)
  registers.setFlags(0)
  const selector = vector << 8
  for (const index of Object.values(SEGMENT)) {
    const isCode = index === SEGMENT.cs
    mode.setSegment(index, {
      selector: isCode ? selector : 0, baseLow: isCode ? selector << 4 : 0, baseHigh: 0, limit: 0xffff,
      attributes: isCode ? REAL_CODE : REAL_DATA,
    })
  }
  registers.setRip(0)
}

/** Tells generated code where memory's tables are, and which memory the processor may reach. */
function placeMemory({ registers, physical, bare, nested }: Core): void {
  const { view, base } = registers
  const { layout } = physical
  State.codeLines.set(view, base, layout.codeLines)
  State.frameNotes.set(view, base, layout.frameNotes)
  State.noteGroups.set(view, base, layout.noteGroups)
  State.blockTable.set(view, base, layout.blockTable)
  // A host that translates is asked for every address: none lies in a range of no bytes.
  if (nested !== undefined) return
  const low = layout.firstFrame * PAGE_SIZE
  State.physicalBase.set(view, base, bare ? low : 0)
  State.physicalLow.set(view, base, low)
  State.physicalSize.set(view, base, layout.endFrame * PAGE_SIZE - low)
}
