/** Which accesses of a block go by one look at the mapping, and that code with such windows does what the interpreter does. */
import { describe, expect, test } from 'vitest'
import { microTable } from '../../../../../../src/machine/cpu/interpreter/compiled.ts'
import { blockUse } from '../../../../../../src/machine/cpu/region/write/block-uses.ts'
import { MicroProfiles } from '../../../../../../src/machine/cpu/region/form/micro-profiles.ts'
import { RecordReader } from '../../../../../../src/machine/cpu/region/form/record-reader.ts'
import { assemble, assembleListing } from '../../../../../support/assembler.ts'
import { Machine } from '../../../../../../src/machine/index.ts'
import type { MachineOptions } from '../../../../../../src/machine/index.ts'
import { CODE, CpuBench, DATA } from '../../../../../support/cpu.ts'
import { compare, decoded } from '../../../../../support/regions.ts'

const setup = `mov $${DATA},%esi; mov $${DATA + 1024},%edi; mov $5,%ecx`

/** The groups of the block at `start`: bytes from their roots, whether they are written, accesses. */
function groups(body: string): string[] {
  const listing = `${setup}; jmp start; start: ${body}; hlt`
  const bench = decoded(listing)
  const region = bench.discover(assembleListing(listing, { origin: CODE }).labels.get('start')!)
  if (typeof region === 'string') throw new Error(region)
  const { values } = blockUse(new RecordReader(bench.machine.memory.view), new MicroProfiles(microTable()), region.blocks[0]!)
  const found = new Set([...values.accesses.values()].map(({ group }) => group))
  return [...found].map(({ low, high, writes, members, base }) =>
    `${members} at ${base < 0 ? 'a constant' : `${low}..${high}`}${writes ? ', written' : ''}`)
}

describe('one look does for', { timeout: 30_000 }, () => {
  test.each([
    ['what is pushed and popped', 'push %rax; push %rbx; sub $8,%rsp; mov %ecx,(%rsp); add $8,%rsp; pop %rbx; pop %rax', ['5 at -24..0, written']],
    ['the fields of a structure', 'mov (%rsi),%rax; mov 8(%rsi),%edx; addb $1,20(%rsi)', ['3 at 0..21, written']],
    ['a pointer that was loaded or copied', 'mov (%rsi),%rdi; mov %rdi,%rbx; mov (%rdi),%eax; lea 4(%rbx),%rdx; mov 4(%rdx),%ecx', ['1 at 0..8', '2 at 0..12']],
    ['a pointer that is moved', 'mov (%rsi),%eax; add $4,%rsi; inc %rsi; sub $2,%rsi; mov (%rsi),%eax', ['2 at 0..7']],
    ['an element of a table', 'incl 4(%rsi,%rcx,8); add $1,%rcx; mov 4(%rsi,%rcx,8),%eax', ['2 at 4..16, written']],
    ['constants in a page', `mov ${DATA},%eax; mov %eax,${DATA + 8}`, ['2 at a constant, written']],
  ])('%s', (_, body, expected) => {
    expect(groups(body)).toEqual(expected)
  })

  test.each([
    ['far from each other', 'mov (%rsi),%eax; mov 125(%rsi),%eax', ['1 at 0..4', '1 at 125..129']],
    ['by another value of the register', 'mov (%rsi),%eax; mov (%rax),%esi; mov (%rsi),%edx', ['1 at 0..4', '1 at 0..4', '1 at 0..4']],
    ['by a register of which half was set', 'mov (%rsi),%eax; add $4,%esi; mov (%rsi),%eax', ['1 at 0..4', '1 at 0..4']],
    ['by another index', 'mov (%rsi,%rcx),%eax; mov (%rsi,%rdx),%eax; mov (%rsi,%rcx,2),%eax', ['1 at 0..4', '1 at 0..4', '1 at 0..4']],
    ['at constants in two pages', `mov ${DATA},%eax; mov ${DATA - 4},%eax`, ['1 at a constant', '1 at a constant']],
  ])('not for accesses %s', (_, body, expected) => {
    expect(groups(body)).toEqual(expected)
  })
})

describe('a region with windows does what the interpreter does', { timeout: 30_000 }, () => {
  const run = (how: string, body: string): ReturnType<typeof compare> => {
    const text = `${how}; jmp start; .skip 64; start: ${body}; hlt`
    const { labels } = assembleListing(text, { origin: CODE })
    return compare(text, { entry: labels.get('start')! - CODE })
  }

  test.each([
    ['on the stack, through calls', 'mov $5,%edi', `
         1: push %rdi; push %rax; call 2f; pop %rax; pop %rdi; add %rdi,%rax; sub $1,%edi; jne 1b; jmp 3f
         2: push %rbp; mov %rsp,%rbp; sub $16,%rsp; mov %edi,-8(%rbp); incl -8(%rbp); mov -8(%rbp),%eax; mov 16(%rbp),%rdx; leave; ret
         3: nop`],
    ['that are opened on one of two ways', setup, `
         1: mov (%rsi),%eax; test $1,%cl; je 2f; mov %ecx,64(%rdi); add $4,%rsi; jmp 3f
         2: mov 8(%rsi),%edx; add %edx,8(%rsi)
         3: mov 64(%rdi),%ebx; add %ebx,(%rsi); sub $1,%ecx; jne 1b`],
    ['that end behind their page, in some rounds', `mov $${DATA + 4096 - 32},%esi; mov $6,%ecx`, '1: addl $1,(%rsi); mov 8(%rsi),%rax; mov %eax,4(%rsi); add $8,%rsi; sub $1,%ecx; jne 1b'],
    ['of which the first access reads and a later one writes', `mov $${DATA + 4096},%esi; mov $3,%ecx`, '1: mov (%rsi),%eax; add $7,%eax; mov %eax,4(%rsi); movb $3,1(%rsi); sub $1,%ecx; jne 1b'],
    ['by the stack pointer as its own operand', '', 'push %rsp; pop %rax; push %rax; pop (%rsp,%rcx); push $5; pop %rbx; push %rbx; pop %rsp; mov %eax,%ebx'],
    ['in tables', `${setup}; xor %edx,%edx`, '1: mov %edx,(%rsi,%rdx,4); incl 4(%rsi,%rdx,4); mov 4(%rsi,%rdx,4),%eax; add $1,%rdx; add (%rsi,%rdx,4),%ebx; sub $1,%ecx; jne 1b'],
    ['around a string instruction', setup, '1: mov (%rsi),%eax; movsl %ds:(%rsi),%es:(%rdi); mov (%rsi),%eax; mov -4(%rdi),%ebx; sub $1,%ecx; jne 1b'],
  ])('%s', (_, how, body) => {
    expect(run(how, body).inside).toBeGreaterThan(0)
  })
})

describe('a window for reading', () => {
  test('is not written through: there may be code', () => {
    const text = (address: number): string => `mov $2,%ecx; mov $${address},%esi; jmp start; .skip 64
      start: mov (%rsi),%eax; dec %ecx; js out; mov %cl,(%rsi); jmp later; .skip 16
      later: mov $0,%edx; jmp start
      out: hlt`
    const { labels } = assembleListing(text(CODE), { origin: CODE })
    // The region ends before the code that it writes.
    const { inside } = compare(text(labels.get('later')! + 1), { entry: labels.get('start')! - CODE, limit: 5 })
    expect(inside).toBeGreaterThan(0)
  })
})

describe('a loop whose accesses lie on both sides of a page\'s end', () => {
  class Compiling extends Machine {
    constructor(options: MachineOptions) {
      super({ ...options, compiler: { samples: 2, slice: 200, batch: 1 } })
    }
  }

  test('is made anew, and stays in its region', () => {
    const bench = new CpuBench({ library: { Machine: Compiling } })
    bench.write(CODE, assemble('1: mov (%rsi),%eax; add 8(%rsi),%eax; mov %eax,(%rsi); dec %rcx; jne 1b; syscall'))
    bench.set('rsi', DATA + 4096 - 8)
    bench.set('rcx', 1_000_000)
    bench.cpu.run(20_000)
    const { dropped, samples, samplesInRegions } = bench.machine.compilerFigures()!
    expect(dropped).toBe(1)
    bench.cpu.run(20_000)
    const after = bench.machine.compilerFigures()!
    expect(after.dropped).toBe(1)
    expect(after.samplesInRegions - samplesInRegions).toBe(after.samples - samples)
  })
})
