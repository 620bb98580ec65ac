/** Which accesses of loops are held to stay in a page. */
import { describe, expect, test } from 'vitest'
import { microTable } from '../../../../../../src/machine/cpu/interpreter/compiled.ts'
import { blockUse } from '../../../../../../src/machine/cpu/region/write/block-uses.ts'
import { MicroProfiles } from '../../../../../../src/machine/cpu/region/form/micro-profiles.ts'
import { RecordReader } from '../../../../../../src/machine/cpu/region/form/record-reader.ts'
import { steadyPages } from '../../../../../../src/machine/cpu/region/write/steady.ts'
import { structure } from '../../../../../../src/machine/cpu/region/form/structure.ts'
import { assembleListing } from '../../../../../support/assembler.ts'
import { CODE, DATA } from '../../../../../support/cpu.ts'
import { decoded } from '../../../../../support/regions.ts'

/** Accesses by page: how many are looked up for which use. */
function pages(setup: string, body: string): string[] {
  const listing = `${setup}; jmp start; start: ${body}; hlt`
  const region = decoded(listing).discover(assembleListing(listing, { origin: CODE }).labels.get('start')!)
  if (typeof region === 'string') throw new Error(region)
  const bench = decoded(listing)
  const reader = new RecordReader(bench.machine.memory.view)
  const profiles = new MicroProfiles(microTable())
  const nodes = structure(region).nodes.map((node) => ({ node, use: blockUse(reader, profiles, node.block) }))
  const found = steadyPages(reader, nodes)
  const counts = new Map<object, number>()
  for (const page of found.values()) counts.set(page, (counts.get(page) ?? 0) + 1)
  return [...counts].map(([page, count]) => `${count} ${(page as { access: string }).access}`).sort()
}

describe('an access of a loop is steady', () => {
  const setup = `mov $${DATA},%esi; mov $${DATA + 64},%edi; mov $5,%ecx`
  test.each([
    ['where its register is left alone or moves in small steps', '1: mov (%rsi),%eax; mov %eax,8(%rdi); add $8,%rsi; dec %ecx; jne 1b', ['1 read', '1 write']],
    ['at a constant address', `1: incl ${DATA + 8}; mov ${DATA + 512},%eax; dec %ecx; jne 1b`, ['2 write']],
    ['on the stack, by one look for what is near', '1: push %rcx; mov (%rsp),%eax; pop %rcx; mov 512(%rsp),%eax; dec %ecx; jne 1b', ['2 write']],
    ['in a table, by a small index', `1: movzbl %cl,%eax; mov ${DATA}(,%rax,4),%ebx; and $15,%ebx; mov (%rsi,%rbx),%dl; dec %ecx; jne 1b`, ['1 read', '1 read']],
    ['not where its register is worked out', '1: mov (%rsi),%eax; and $8,%eax; lea (%rsi,%rax),%rsi; dec %ecx; jne 1b', []],
    ['not outside of loops', 'mov (%rsi),%eax; mov %eax,(%rdi)', []],
    ['only in four pages', '1: mov (%rsi),%eax; mov (%rdi),%eax; mov (%rsp),%eax; mov 0x600000,%eax; mov 0x601000,%eax; mov 0x602000,%eax; dec %ecx; jne 1b',
      ['1 read', '1 read', '1 read', '1 read']],
  ])('%s', (_, body, expected) => {
    expect(pages(setup, body)).toEqual(expected)
  })

  test('by what the innermost loop does', () => {
    expect(pages(setup, '1: mov $3,%edx; 2: mov (%rsi),%eax; add $4,%rsi; dec %edx; jne 2b; imul $1,%rsi,%rsi; dec %ecx; jne 1b')).toEqual(['1 read'])
  })
})
