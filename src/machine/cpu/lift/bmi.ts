/** Lifters of BMI1, BMI2, LZCNT and MOVBE. Those with a VEX prefix need nothing of the kernel. */
import { SLOT } from '../layout/state.ts'
import type { Lift, Lifter } from './lifter.ts'

/** Slot of the register in VEX.vvvv. */
const secondSlot = (l: Lifter): number => l.instruction.vvvv * 8

/** Operands as rows name them: destination in ModRM.reg, or in VEX.vvvv where that comes first; the other one in `addend`. */
const withVex = (name: string, kind: 'rr' | 'rrr' | 'rri'): Lift => (l) => {
  const size = l.size('Ey')
  const slot = l.source(size)
  const isSecond = l.instruction.row.kinds[0]!.place === 'vvvv'
  l.fields.destination = isSecond ? secondSlot(l) : l.regSlot(size)
  l.fields.source = slot
  l.fields.addend = secondSlot(l)
  if (kind === 'rri') l.fields.control = l.instruction.immediate
  l.emit(`${name}.${size}.${kind}`)
}

const count = (name: string): Lift => (l) => {
  const size = l.instruction.operandSize
  const slot = l.source(size)
  l.fields.destination = l.regSlot(size)
  l.fields.source = slot
  l.emit(`${name}.${size}.rr`)
}

/** MOVBE between a register and memory. */
const reversed: Lift = (l) => {
  const size = l.instruction.operandSize
  const isStore = l.instruction.row.kinds[0]!.place === 'rm'
  const slot = isStore ? l.regSlot(size) : l.source(size)
  l.fields.destination = isStore ? SLOT.t0 : l.regSlot(size)
  l.fields.source = slot
  l.emit(`movbe.${size}.rr`)
  if (isStore) l.store(size, SLOT.t0)
}

/** Lifters by name of instruction. */
export const BIT_LIFTERS: Readonly<Record<string, Lift>> = {
  ...Object.fromEntries(['blsr', 'blsmsk', 'blsi'].map((name) => [name, withVex(name, 'rr')])),
  ...Object.fromEntries(['andn', 'bzhi', 'bextr', 'shlx', 'sarx', 'shrx', 'mulx', 'pext', 'pdep'].map((name) => [name, withVex(name, 'rrr')])),
  rorx: withVex('rorx', 'rri'), tzcnt: count('tzcnt'), lzcnt: count('lzcnt'), movbe: reversed,
}
