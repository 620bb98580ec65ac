/** String instructions in the midst of regions: registers, flags, memory and the budget are as the interpreter leaves them. */
import { describe, expect, test } from 'vitest'
import { CODE, DATA, STACK_END } from '../../../../support/cpu.ts'
import { assembleListing } from '../../../../support/assembler.ts'
import { compare } from '../../../../support/regions.ts'
import type { Comparison } from '../../../../support/regions.ts'

const ALL = Array.from({ length: 41 }, (_, budget) => budget)

const ACCUMULATORS: Readonly<Record<string, string>> = { b: 'al', w: 'ax', l: 'eax', q: 'rax' }

/** String instructions with their operands, as the assembler wants them. */
const spelled = (body: string): string => body
  .replace(/\b(movs|cmps)([bwlq])\b/g, (_, name, size) => (name === 'movs' ? `movs${size} %ds:(%rsi),%es:(%rdi)` : `cmps${size} %es:(%rdi),%ds:(%rsi)`))
  .replace(/\b(stos|lods|scas)([bwlq])\b/g, (_, name: string, size: string) => {
    const accumulator = `%${ACCUMULATORS[size]}`
    return name === 'stos' ? `stos ${accumulator},%es:(%rdi)` : name === 'lods' ? `lods %ds:(%rsi),${accumulator}` : `scas %es:(%rdi),${accumulator}`
  })

/** Listings begin with something in the registers; the region begins behind that. */
function run(setup: string, body: string, budgets: readonly number[] = [1000, 30, 9, 4]): Comparison {
  const text = `${setup}\n jmp start\n .skip 256\nstart:\n${spelled(body)}\n hlt`
  const { labels } = assembleListing(text, { origin: CODE })
  return compare(text, { entry: labels.get('start')! - CODE, budgets })
}

const POINTERS = `mov $${DATA},%esi; mov $${DATA + 256},%edi; mov $0x11223344,%eax; imul $0x10001,%rax,%rax`

describe('strings in a region', () => {
  test.each([
    ['one element of each', 'movsb; movsq; stosl; stosw; lodsq; add %rax,%rbx; scasb; cmpsl; seta %cl; lodsb; adc %rbx,%rdx'],
    ['repeated stores', 'mov $9,%ecx; rep stosq; mov $5,%ecx; rep stosb; add $1,%rbx; xor %ecx,%ecx; rep stosl; inc %rbx'],
    ['repeated moves', 'mov $3,%edx; 1: mov $7,%ecx; rep movsl; sub $4,%rsi; mov $3,%ecx; rep movsb; sub $1,%edx; jne 1b'],
    ['moves backwards', 'std; mov $3,%ecx; add $64,%rsi; add $64,%rdi; rep movsq; cld; stosb'],
    ['comparisons that end at a difference', `
      movb $7,3(%rsi); mov $9,%ecx; repe cmpsb; setb %bl; sbb %rdx,%rdx; mov $9,%ecx; repne scasb; sete %dl; pushf; pop %r8`],
    ['flags that pass a store by', 'mov $-1,%ecx; add $1,%ecx; mov $3,%ecx; rep stosb; setb %bl; adc $0,%rdx; cmp %eax,%ebx; stosq; setl %dl; dec %r9; stosb; setb %r10b'],
    ['a copied loop with its own count', 'mov $6,%edx; 1: mov %edx,%ecx; rep stosw; lea (%rdi,%rdx),%rdi; sub $1,%edx; jne 1b'],
  ])('%s', (_, body) => {
    expect(run(POINTERS, body, ALL).inside).toBeGreaterThan(0)
  })

  test('a repetition that takes more than the budget stops where it does without regions', () => {
    const { inside } = run(POINTERS, '1: mov $25,%ecx; rep stosb; sub $25,%rdi; inc %rbx; inc %rbx; inc %rbx; jmp 1b', ALL)
    expect(inside).toBeGreaterThan(100)
  })

  test('a fault half-way is the interpreter\'s', () => {
    const { causes, inside } = run(`mov $${DATA + 8 * 4096 - 40},%edi; mov $7,%eax`, 'inc %ebx; mov $20,%ecx; rep stosq; inc %ebx')
    expect([causes.has('instruction'), inside > 3]).toEqual([true, true])
  })

  test('a store beside the code in its frame goes on, one into it leaves the region behind the instruction', () => {
    // Not in the run that decodes: that one has another stack.
    const body = `lea start(%rip),%rdi; mov $0x90,%al; mov $5,%edx; cmp $${STACK_END - 256},%esp; je 1f; mov $1,%edx
      1: inc %rbx; sub $1,%edx; je 2f; stosb; sub $DISTANCE,%rdi; jmp 1b; 2: nop`
    expect(run('', body.replace('DISTANCE', '1')).inside).toBeGreaterThan(5)
    const beside = run('', body.replace('lea start', 'lea start-200').replace('DISTANCE', '-1'))
    expect([beside.inside > 20, [...beside.causes]]).toEqual([true, ['instruction', 'budget']])
  })
})
