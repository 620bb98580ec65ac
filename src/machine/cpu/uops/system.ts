/** Nothing at all, segment selectors, calls of TypeScript handlers, calls of the runtime's string functions. */
import { GPR, RFLAGS, SEGMENT } from '../../../x86/index.ts'
import { SLOT, State } from '../layout/state.ts'
import { STRINGS, STRING_PARTS } from '../runtime/strings.ts'
import type { StringName } from '../runtime/strings.ts'
import {
  all, byHandler, field, from, fromRegister, fromSlot, fromUnit, into, intoRegister, readsFlags, setsFlags, sometimes,
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
  list.add(['cover'], [], (b) => b.countBlock())
  list.add(['handler'], [byHandler], (b) => b.handler())
  // A kernel reads CS and SS whenever it makes a frame to return through.
  for (const [name, segment] of Object.entries(SEGMENT)) {
    list.add(['selector', segment], [into('destination', 32), fromUnit(name as keyof typeof SEGMENT)], (b) => b.place('destination', 32).set(() => {
      b.code.get(b.base)
      b.code.memory('i32.load', State.selectors.at(0, segment))
    }))
  }
  for (const name of STRINGS) list.add(['string', name], [stringFacts(name)], (b) => b.runtime(name))
}
