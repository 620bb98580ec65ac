/** Nothing at all, calls of TypeScript handlers, calls of the runtime's string functions. */
import { GPR, RFLAGS } from '../../../x86/index.ts'
import { SLOT } from '../layout/state.ts'
import { STRINGS, STRING_PARTS } from '../runtime/strings.ts'
import type { StringName } from '../runtime/strings.ts'
import {
  all, byHandler, changeRegister, field, from, fromRegister, fromSlot, fromUnit, intoRegister, readsFlags, setsFlags, sometimes,
} from './facts.ts'
import type { Effect, MemoryUse } from './facts.ts'
import type { MicroList } from './micro.ts'

/** Elements are as long as the record says; what a repetition of none would leave out happens in some cases only. */
function stringFacts(name: StringName): Effect {
  const { usesSource, usesTarget, writesTarget, compares } = STRING_PARTS[name]
  const element = (use: MemoryUse): Effect => ({ memory: [{ through: 'string', use, bytes: 0, align: 1 }] })
  return all(
    field('element'), field('repeat'), field('addressSize'), fromUnit('systemFlags'),
    fromRegister(GPR.rcx), sometimes(intoRegister(GPR.rcx, 64)),
    usesSource ? all(from('segmentBase', 64), element('read'), fromRegister(GPR.rsi), sometimes(intoRegister(GPR.rsi, 64))) : {},
    usesTarget ? all(fromSlot(SLOT.es), fromRegister(GPR.rdi), sometimes(intoRegister(GPR.rdi, 64))) : {},
    usesTarget ? element(writesTarget ? 'write' : 'read') : {},
    // Of its two operands the second faults first.
    usesSource && compares ? element('probe-read') : {},
    name === 'stos' || name === 'scas' ? fromRegister(GPR.rax) : {},
    name === 'lods' ? sometimes(intoRegister(GPR.rax, 64)) : {},
    // A repetition goes on by what the comparison before has left.
    compares ? all(sometimes(setsFlags()), readsFlags(RFLAGS.ZF)) : {},
    { ends: 'repeat', price: 'repetition' },
  )
}

/** Adds the family. */
export function defineSystemFamily(list: MicroList): void {
  list.add(['nop'], [], () => {})
  list.add(['handler'], [byHandler], (b) => b.handler())
  for (const name of STRINGS) list.add(['string', name], [stringFacts(name)], (b) => b.runtime(name))
}
