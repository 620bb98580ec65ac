/**
 * Exceptions and interrupts of a bare processor on their way through the IDT.
 *
 *   stack of the handler, 64-bit:   rsp -> [error code] | rip | cs | rflags | rsp | ss
 *
 * Nothing of the processor changes before everything has been read, checked and pushed. A fault on the way becomes a
 * fault of its own, a double fault or shutdown.
 * Reference: Intel SDM volume 3, sections 6.12 to 6.15.
 */
import { DPL_SHIFT, GPR, RFLAGS, SEGMENT, SYSTEM_TYPE, VECTOR } from '../../../x86/index.ts'
import { highPart, isCanonical, lowPart } from '../../../util/index.ts'
import { GUEST_FAULT, fail } from '../core/faults.ts'
import type { Core } from '../core/core.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { NOT_CANONICAL, PHYSICAL_FAULT, State, WALK_AGAIN } from '../layout/state.ts'
import { codeBehindGate, enterCode, readGate } from './gates.ts'
import type { Delivery } from './gates.ts'
import { enterLegacy } from './legacy-delivery.ts'
import { enterInterrupt, isReal } from './real-mode.ts'
import { afterJump, asSupervisor, nullSegment, pushWide, stackOfRing, stackOfTable } from './tables.ts'
import type { WideWord } from './tables.ts'

/** Enters the handler; faults leave by GUEST_FAULT with nothing changed. */
export function enterHandler(core: Core, delivery: Delivery): void {
  const { registers } = core
  const enter = registers.isLongMode ? enterLong : isReal(registers) ? enterInterrupt : enterLegacy
  asSupervisor(core, () => enter(core, delivery))
}

const LONG_GATES = [SYSTEM_TYPE.INTERRUPT_GATE, SYSTEM_TYPE.TRAP_GATE]

function enterLong(core: Core, delivery: Delivery): void {
  const { registers, faults } = core
  const ext = delivery.kind === 'software' ? 0 : 1
  const gate = readGate(core, delivery, 4, LONG_GATES)
  const { code, ring } = codeBehindGate(core, gate.selector, ext)
  const { cpl } = registers
  const top = gate.table !== 0 ? stackOfTable(core, gate.table, ext)
    : ring < cpl ? stackOfRing(core, ring, ext) : wholeStackPointer(registers)
  if (!isCanonical(top)) fail(faults, VECTOR.SS, ext)
  if (!isCanonical(gate.offset)) fail(faults, VECTOR.GP, ext)
  const words: WideWord[] = [
    [registers.selector(SEGMENT.ss), 0], [registers.low(GPR.rsp * 8), registers.high(GPR.rsp * 8)], [delivery.flags, 0],
    [registers.selector(SEGMENT.cs), 0], [lowPart(delivery.rip), highPart(delivery.rip)],
  ]
  if (delivery.errorCode !== undefined) words.push([delivery.errorCode, 0])
  const aligned = Math.floor(top / 16) * 16
  pushWide(core, aligned, words, ring)
  if (ring !== cpl) core.mode.setSegment(SEGMENT.ss, { ...nullSegment(ring), attributes: ring << DPL_SHIFT })
  registers.setNumber(GPR.rsp * 8, aligned - words.length * 8)
  enterCode(core, { code, offset: gate.offset, masks: gate.type === SYSTEM_TYPE.INTERRUPT_GATE })
}

/** All 64 bits count, also while 32-bit code runs. */
const wholeStackPointer = (registers: RegisterFile): number => registers.address(GPR.rsp * 8)

/** INT n, INT3, INTO and INT1 of a bare processor: a handler's body. */
export function softwareInterrupt(
  core: Core, record: number, vector: number, kind: 'software' | 'exception' = 'software',
): number {
  const rip = core.records.nextOf(record)
  enterHandler(core, { vector, kind, rip, flags: core.registers.flags() & ~RFLAGS.RF })
  core.debug.isUntraced = true
  return afterJump(core)
}

/** Exceptions that, when one follows another, make a double fault. */
const CONTRIBUTORY: ReadonlySet<number> =
  /* @__PURE__ */ new Set([VECTOR.DE, VECTOR.TS, VECTOR.NP, VECTOR.SS, VECTOR.GP])

/** Whether a fault while the first exception is delivered is a double fault. */
function isDouble(first: Delivery, second: number): boolean {
  if (first.kind !== 'exception') return false
  if (first.vector === VECTOR.PF) return second === VECTOR.PF || CONTRIBUTORY.has(second)
  return CONTRIBUTORY.has(first.vector) && CONTRIBUTORY.has(second)
}

/**
 * What came of a delivery. Shutdown: there was a fault during a double fault. Physical: memory is missing that the host is
 * to provide; nothing has been delivered.
 */
export type Outcome = 'delivered' | 'shutdown' | 'physical'

/** Delivers an exception or external interrupt, and whatever comes of it. */
export function deliver(core: Core, first: Delivery): Outcome {
  const { registers } = core
  const { view, base } = registers
  let delivery = first
  for (;;) {
    registers.setRip(first.rip)
    if (attempt(core, delivery)) return 'delivered'
    const vector = State.faultVector.get(view, base)
    if (vector === PHYSICAL_FAULT) return 'physical'
    if (vector === WALK_AGAIN) continue
    if (delivery.vector === VECTOR.DF) return 'shutdown'
    const code = State.faultCode.get(view, base)
    if (vector === VECTOR.PF) notePageFault(registers)
    const flags = (first.flags | RFLAGS.RF) >>> 0
    if (isDouble(delivery, vector)) delivery = { ...first, kind: 'exception', vector: VECTOR.DF, errorCode: 0, flags }
    else delivery = { ...first, kind: 'exception', vector, errorCode: code === NOT_CANONICAL ? 0 : code, flags }
  }
}

function attempt(core: Core, delivery: Delivery): boolean {
  try {
    enterHandler(core, delivery)
    return true
  } catch (error) {
    if (error === GUEST_FAULT) return false
    throw error
  }
}

/** CR2 takes the address of a page fault. */
export function notePageFault(registers: RegisterFile): void {
  const { view, base } = registers
  State.control.element.setParts(
    view, State.control.at(base, 2), State.faultAddress.low(view, base), State.faultAddress.high(view, base))
}
