/**
 * Far calls and jumps of 32-bit PV guests through call gates of their own: the processor refuses the gates, whose level is the
 * hypervisor's, and they are passed here in the guest's place, to ring 1 at most. A gate's own level stands in its selector.
 *
 *   esp -> eip | cs | [parameters | esp | ss, from an outer ring]
 *
 * Reference: xen/arch/x86/pv/emul-gate-op.c, pv_emulate_gate_op, read_gate_descriptor.
 */
import type { Disassembled, MemoryOperand, SegmentState } from '../../../machine/index.ts'
import { FIRST_RESERVED_GDT_ENTRY } from '../../../abi/index.ts'
import { ATTRIBUTE, GPR, type GprName, PAGE_FAULT, SEGMENT, type SegmentName, VECTOR, dplOf, isConforming } from '../../../x86/index.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { Scratch, readInto } from '../../memory/guest-access.ts'
import type { DescriptorTables } from '../direct-paging/descriptor-tables.ts'
import { segmentFromDescriptor } from '../paravirtual/segment-registers.ts'
import type { Pv32Vcpu } from './pv32-vcpu.ts'
import { linearAddress } from './segments.ts'

/** An exception in place of what was to be done. */
export interface GateFault {
  readonly vector: number
  readonly errorCode: number
  readonly address?: number
}

/** Bits of a gate's high half. */
const GATE = { PRESENT: 0x8000, TYPE: 0x1f00, CALL: 0x0c00, LEVEL: 0x6000, PARAMETERS: 0x1f } as const
const MOST_WORDS = 4 + GATE.PARAMETERS
const WRITABLE_DATA = ATTRIBUTE.SEGMENT | ATTRIBUTE.WRITABLE

const protection = (errorCode: number): GateFault => ({ vector: VECTOR.GP, errorCode: errorCode & 0xfffc })

interface Gate {
  readonly selector: number
  readonly offset: number
  readonly level: number
  readonly isPresent: boolean
  readonly parameters: number
}

/** A far call or jump as it stands in the code. */
interface Transfer {
  readonly isJump: boolean
  readonly selector: number
  readonly length: number
}

/** A stack that words are pushed onto. */
interface Stack {
  readonly segment: SegmentState
  readonly pointer: number
  readonly words: number[]
}

/** Passes gates; one object serves all vCPUs. */
export class CallGates {
  private readonly tables: DescriptorTables
  private readonly descriptor = new Uint32Array(2)
  private readonly scratch = new Scratch(MOST_WORDS * 4)

  constructor(tables: DescriptorTables) {
    this.tables = tables
  }

  /** What becomes of a protection fault over a selector: undefined when the gate has been passed, or the fault that the guest gets. */
  pass(vcpu: Vcpu, pv: Pv32Vcpu, errorCode: number): GateFault | undefined {
    const ring = pv.processor.registers.selector(SEGMENT.cs) & 3
    const gate = this.gate(vcpu, pv, errorCode)
    if (gate === undefined || gate.level < ring) return protection(errorCode)
    if (!gate.isPresent) return { vector: VECTOR.NP, errorCode }
    const transfer = this.transfer(vcpu, pv)
    if (transfer === undefined || (transfer.selector & ~3) !== errorCode || gate.level < (transfer.selector & 3)) return protection(errorCode)
    const code = this.segment(vcpu, pv, gate.selector)
    if (code === undefined || !mayEnter(code.attributes, ring, transfer.isJump)) return protection(gate.selector)
    if ((code.attributes & ATTRIBUTE.PRESENT) === 0) return { vector: VECTOR.NP, errorCode: gate.selector }
    if (gate.offset > code.limit) return protection(0)
    const isInner = !transfer.isJump && !isConforming(code.attributes) && dplOf(code.attributes) < ring
    const target = isInner ? dplOf(code.attributes) : ring
    if (!transfer.isJump) {
      const fault = isInner ? this.callInner(vcpu, pv, { gate, target, transfer, errorCode }) : this.callSame(pv, transfer)
      if (fault !== undefined) return fault
    }
    pv.processor.registers.setSegment(SEGMENT.cs, { ...code, selector: gate.selector | target })
    pv.processor.registers.setRip(gate.offset, 0)
    return undefined
  }

  private gate(vcpu: Vcpu, pv: Pv32Vcpu, selector: number): Gate | undefined {
    const isReserved = (selector & 4) === 0 && selector >>> 3 >= FIRST_RESERVED_GDT_ENTRY
    if (selector < 4 || isReserved || !this.tables.read(vcpu.owner, pv, selector, this.descriptor)) return undefined
    const [low, high] = [this.descriptor[0]!, this.descriptor[1]!]
    if ((high & (GATE.TYPE | GATE.LEVEL)) !== GATE.CALL) return undefined
    return {
      selector: (low >>> 16) & 0xfffc, offset: ((low & 0xffff) | (high & 0xffff_0000)) >>> 0, level: (low >>> 16) & 3,
      isPresent: (high & GATE.PRESENT) !== 0, parameters: high & GATE.PARAMETERS,
    }
  }

  private segment(vcpu: Vcpu, pv: Pv32Vcpu, selector: number): SegmentState | undefined {
    if ((selector & 0xfffc) === 0 || !this.tables.read(vcpu.owner, pv, selector, this.descriptor)) return undefined
    return segmentFromDescriptor(selector, this.descriptor[0]!, this.descriptor[1]!)
  }

  /** The instruction, with the selector that it names, in itself or in memory. */
  private transfer(vcpu: Vcpu, pv: Pv32Vcpu): Transfer | undefined {
    const instruction = pv.processor.instruction()
    const operand = instruction?.operands[0]
    if (instruction === undefined || operand === undefined || !/^l(call|jmp)w?$/.test(instruction.mnemonic)) return undefined
    const plain = { isJump: instruction.mnemonic.startsWith('ljmp'), length: instruction.length }
    if (operand.kind === 'far') return { ...plain, selector: operand.selector }
    if (operand.kind !== 'memory') return undefined
    const at = addressOf(pv, operand, offsetBytes(instruction))
    if (at < 0 || !readInto(vcpu.access, at, this.scratch, 2)) return undefined
    return { ...plain, selector: this.scratch.view.getUint16(0, true) }
  }

  /** A call within the ring: onto the stack in use. */
  private callSame(pv: Pv32Vcpu, transfer: Transfer): GateFault | undefined {
    const { registers } = pv.processor
    return this.push(pv, { segment: registers.segment(SEGMENT.ss), pointer: registers.low(GPR.rsp), words: returnWords(pv, transfer) }, 0)
  }

  /** A call to the kernel: onto the stack that it has named, with the caller's stack and parameters. */
  private callInner(
    vcpu: Vcpu, pv: Pv32Vcpu, { gate, target, transfer, errorCode }: { readonly gate: Gate; readonly target: number; readonly transfer: Transfer; readonly errorCode: number },
  ): GateFault | undefined {
    const { registers } = pv.processor
    // The inner stack of the kernel's ring is the only one that is known.
    if (target !== 1) return protection(errorCode)
    const stack = this.segment(vcpu, pv, pv.kernelSs)
    const isStack = stack !== undefined && (pv.kernelSs & 3) === target && dplOf(stack.attributes) === target
      && (stack.attributes & (WRITABLE_DATA | ATTRIBUTE.CODE)) === WRITABLE_DATA
    if (!isStack) return { vector: VECTOR.TS, errorCode: pv.kernelSs & 0xfffc }
    if ((stack.attributes & ATTRIBUTE.PRESENT) === 0) return { vector: VECTOR.SS, errorCode: pv.kernelSs & 0xfffc }
    const parameters = this.parameters(vcpu, pv, gate.parameters)
    if (parameters === undefined) return protection(errorCode)
    const words = [...returnWords(pv, transfer), ...parameters, registers.low(GPR.rsp), registers.selector(SEGMENT.ss)]
    return this.push(pv, { segment: { ...stack, selector: pv.kernelSs }, pointer: pv.kernelSp.low, words }, pv.kernelSs & 0xfffc)
  }

  /** The words that are copied from the caller's stack, the lowest first. */
  private parameters(vcpu: Vcpu, pv: Pv32Vcpu, count: number): number[] | undefined {
    if (count === 0) return []
    const { registers } = pv.processor
    const at = linearAddress(registers.segment(SEGMENT.ss), registers.low(GPR.rsp), count * 4)
    if (at < 0 || !readInto(vcpu.access, at, this.scratch, count * 4)) return undefined
    return Array.from({ length: count }, (_, i) => this.scratch.view.getUint32(i * 4, true))
  }

  /** Writes words, the last ones highest, and takes the stack. */
  private push(pv: Pv32Vcpu, { segment, pointer, words }: Stack, errorCode: number): GateFault | undefined {
    const bytes = words.length * 4
    const offset = (pointer - bytes) >>> 0
    const at = linearAddress(segment, offset, bytes)
    if (at < 0) return { vector: VECTOR.SS, errorCode }
    words.forEach((word, i) => this.scratch.view.setUint32(i * 4, word, true))
    if (!pv.kernelAccess.write(at, this.scratch.bytes.subarray(0, bytes))) return { vector: VECTOR.PF, errorCode: PAGE_FAULT.WRITE, address: at }
    pv.processor.registers.setSegment(SEGMENT.ss, segment)
    pv.processor.registers.set(GPR.rsp, offset, 0)
    return undefined
  }
}

/** Whether a gate may lead to code: inwards by a call, or by conforming code; a jump stays in its ring. */
function mayEnter(attributes: number, ring: number, isJump: boolean): boolean {
  if ((attributes & (ATTRIBUTE.SEGMENT | ATTRIBUTE.CODE)) !== (ATTRIBUTE.SEGMENT | ATTRIBUTE.CODE)) return false
  const level = dplOf(attributes)
  return isJump && !isConforming(attributes) ? level === ring : level <= ring
}

/** Where a call comes back to. */
const returnWords = ({ processor: { registers } }: Pv32Vcpu, { length }: Transfer): number[] =>
  [(registers.rip() + length) >>> 0, registers.selector(SEGMENT.cs)]

/** Bytes of the offset before the selector in memory. */
const offsetBytes = ({ mnemonic }: Disassembled): number => (mnemonic.endsWith('w') ? 2 : 4)

/** Linear address of what lies `skip` bytes behind an operand of 32-bit addressing; -1 where it cannot be. */
function addressOf({ processor: { registers } }: Pv32Vcpu, operand: MemoryOperand, skip: number): number {
  const value = (name: string | undefined): number => (name === undefined ? 0 : registers.low(GPR[name.replace('e', 'r') as GprName]))
  if ([operand.base, operand.index].some((name) => name !== undefined && !/^e[a-ds][ipx]$/.test(name))) return -1
  const usual: SegmentName = operand.base === 'ebp' || operand.base === 'esp' ? 'ss' : 'ds'
  const segment = registers.segment(SEGMENT[(operand.segment ?? usual) as SegmentName])
  return linearAddress(segment, (value(operand.base) + value(operand.index) * operand.scale + operand.displacement + skip) >>> 0, 2)
}
