/** String instructions in the midst of regions: registers, flags, memory and the budget are as the interpreter leaves them. */
import { describe, expect, test } from 'vitest'
import { STATUS } from '../../../../../../src/machine/cpu/layout/state.ts'
import { CODE, DATA } from '../../../../../support/cpu.ts'
import { assembleListing } from '../../../../../support/assembler.ts'
import { compare, decoded } from '../../../../../support/regions.ts'
import type { Comparison } from '../../../../../support/regions.ts'

const BUDGETS = [1000, 40, 27, 16, 11, 8, 5, 3, 1]

const ACCUMULATORS: Readonly<Record<string, string>> = { b: 'al', w: 'ax', l: 'eax', q: 'rax' }

/** String instructions with their operands, as the assembler wants them. */
const spelled = (body: string): string => body
  .replace(/\b(movs|cmps)([bwlq])\b/g, (_, name, size) => (name === 'movs' ? `movs${size} %ds:(%rsi),%es:(%rdi)` : `cmps${size} %es:(%rdi),%ds:(%rsi)`))
  .replace(/\b(stos|lods|scas)([bwlq])\b/g, (_, name: string, size: string) => {
    const accumulator = `%${ACCUMULATORS[size]}`
    return name === 'stos' ? `stos ${accumulator},%es:(%rdi)` : name === 'lods' ? `lods %ds:(%rsi),${accumulator}` : `scas %es:(%rdi),${accumulator}`
  })

/** Listings begin with something in the registers; the region begins behind that. */
function run(setup: string, body: string): Comparison {
  const text = `${setup}\n jmp start\n .skip 256\nstart:\n${spelled(body)}\n hlt`
  const { labels } = assembleListing(text, { origin: CODE })
  return compare(text, { entry: labels.get('start')! - CODE, budgets: BUDGETS })
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
    expect(run(POINTERS, body).inside).toBeGreaterThan(0)
  })

  test('a repetition that takes more than the budget stops where it does without regions', () => {
    const { inside } = run(POINTERS, '1: mov $25,%ecx; rep stosb; sub $25,%rdi; inc %rbx; inc %rbx; inc %rbx; jmp 1b')
    expect(inside).toBeGreaterThan(100)
  })

  test('a repetition may leave less of the budget than what is behind it takes', () => {
    const listing = spelled(`${POINTERS}; mov $20,%ecx; jmp start; start: rep stosb; ${'inc %rbx; '.repeat(12)} hlt`)
    const entry = assembleListing(listing, { origin: CODE }).labels.get('start')!
    const bench = decoded(listing)
    const region = bench.discover(entry)
    if (typeof region === 'string') throw new Error(region)
    bench.clear()
    bench.set('rdi', DATA)
    bench.set('rcx', 20)
    bench.jump(entry)
    expect(bench.enter(region, bench.compile(region), 30).executed).toBeLessThanOrEqual(30)
  })

  test('a fault half-way is the interpreter\'s', () => {
    const { causes, inside } = run(`mov $${DATA + 8 * 4096 - 40},%edi; mov $7,%eax`, 'inc %ebx; mov $20,%ecx; rep stosq; inc %ebx')
    expect([causes.has('instruction'), inside > 3]).toEqual([true, true])
  })

  test('a store beside the code in its frame goes on', () => {
    const { inside, causes } = run('', `lea start-100(%rip),%rdi; mov $0x90,%al; mov $5,%edx
      1: inc %rbx; sub $1,%edx; je 2f; stosb; jmp 1b; 2: nop`)
    expect([inside > 20, [...causes]]).toEqual([true, ['instruction', 'budget']])
  })

  test.each([
    ['behind the instruction', 'stosw', 7], ['in its midst where it is to go on', 'rep stosb', 7],
  ])('a store into its own code leaves the region %s', (_, store, count) => {
    const listing = spelled(`lea 1f(%rip),%rdi; mov $0x9090,%eax; mov $2,%ecx; test %edx,%edx; je 2f; inc %rbx
      ${store}; 1: inc %ebp; inc %rsi; 2: hlt`)
    // Decoded behind the jump that the first run takes.
    const [one, other] = [decoded(listing), decoded(listing)]
    const region = one.discover(CODE)
    if (typeof region === 'string') throw new Error(region)
    const enter = one.compile(region)
    for (const bench of [one, other]) {
      bench.clear()
      bench.set('rdx', 1)
    }
    const { status, executed } = one.enter(region, enter, 100)
    other.cpu.run(executed)
    expect([status, executed, one.picture()]).toEqual([STATUS.JUMP, count, other.picture()])
    for (const bench of [one, other]) bench.cpu.run(50)
    expect([one.get('rbp'), one.get('rsi'), one.picture()]).toEqual([0n, 1n, other.picture()])
  })
})
