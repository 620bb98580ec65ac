/**
 * Ways into a kernel: SYSCALL and its kin, INT. A hosted processor leaves them to its host. And ENTER with frames.
 * Reference: Intel SDM volume 2, ENTER, INT n, SYSCALL, SYSENTER.
 */
import { GPR, RFLAGS, VECTOR } from '../../../x86/index.ts'
import { highPart, lowPart } from '../../../util/index.ts'
import type { Core } from '../core/core.ts'
import { RECORD } from '../layout/record.ts'
import { ACCESS, STATUS } from '../layout/state.ts'
import { softwareInterrupt } from '../system/delivery.ts'
import { systemCall, systemEnter, systemExit, systemReturn } from '../system/fast-calls.ts'
import { ENTER_LEVEL } from './prices.ts'
import type { Handler } from '../core/handler.ts'
import { rows, type Handlers } from './rows.ts'

/** INT n, INT3, INTO, INT1: to the host, or through a bare processor's own IDT. */
function interrupt(core: Core, record: number, vector: number): number {
  if (core.bare) return softwareInterrupt(core, record, vector)
  core.outside.vector = vector
  return STATUS.INTERRUPT
}

/**
 * ENTER with frames to copy. As on the processor, what has been pushed stays when a later access faults; registers do
 * not change before all accesses have been made.
 */
const enter = (size: 2 | 4 | 8): Handler => (core, record) => {
  const { registers, records, memory, stack } = core
  const level = records.field(record, RECORD.level)
  const top = stack.pointer()
  const frame = top - size
  let [to, pointer] = [frame, registers.address(GPR.rbp * 8)]
  const push = (value: Uint8Array): number => memory.writeBytes(stack.place(to - top, size, ACCESS.WRITE), value)
  let status = push(numberBytes(registers.low(GPR.rbp * 8), registers.high(GPR.rbp * 8), size))
  for (let i = 1; i < level; i += 1) {
    pointer -= size
    to -= size
    status |= push(memory.readBytes(stack.place(pointer - top, size), size))
  }
  to -= size
  status |= push(numberBytes(lowPart(frame), highPart(frame), size))
  to -= records.displacement(record) & 0xffff
  memory.hostForWrite(stack.place(to - top, size, ACCESS.WRITE), size)
  if (size === 2) registers.view.setUint16(registers.base + GPR.rbp * 8, frame & 0xffff, true)
  else if (size === 4) registers.setSlot(GPR.rbp * 8, frame >>> 0, 0)
  else registers.setNumber(GPR.rbp * 8, frame)
  stack.move(to - top)
  core.progress.pay(level * ENTER_LEVEL)
  return status
}

function numberBytes(low: number, high: number, size: 2 | 4 | 8): Uint8Array {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, low, true)
  view.setUint32(4, high, true)
  return bytes.subarray(0, size)
}

/** INT1 counts as an event of the processor's own, and the ring does not matter. */
function debugInterrupt(core: Core, record: number): number {
  return core.bare ? softwareInterrupt(core, record, VECTOR.DB, 'exception') : interrupt(core, record, VECTOR.DB)
}

/** An instruction that leaves a hosted processor's code one way and is carried out here on a bare one. */
const split = (hosted: Handler, bare: Handler): Handler => (core, record) => (core.bare ? bare : hosted)(core, record)

/** Handlers by name. */
export const INTERRUPT_HANDLERS: Handlers = {
  ...rows({
    syscall: split(() => STATUS.SYSCALL, systemCall),
    sysret: split(({ faults }) => faults.protection(), systemReturn),
    sysenter: split(({ faults }) => faults.undefinedOpcode(), systemEnter),
    sysexit: split(({ faults }) => faults.protection(), systemExit),
    int: (core, record) => interrupt(core, record, core.records.displacement(record) & 0xff),
    int1: debugInterrupt,
    into: (core, record) => ((core.registers.flags() & RFLAGS.OF) === 0 ? STATUS.NEXT : interrupt(core, record, VECTOR.OF)),
  }),
  ...rows({ 'enter.16': enter(2), 'enter.32': enter(4), 'enter.64': enter(8) }, { usesStack: true }),
}
