/** Regions against the interpreter: everything that a guest sees, after every exit, and the instructions counted. */
import { describe, expect, test } from 'vitest'
import { STATUS } from '../../../../../../src/machine/cpu/layout/state.ts'
import { CODE, DATA } from '../../../../../support/cpu.ts'
import { assembleListing } from '../../../../../support/assembler.ts'
import { compare, decoded } from '../../../../../support/regions.ts'

/** Listings begin with something in the registers; the region begins behind that. */
const listing = (setup: string, body: string): { text: string; entry: number } => {
  const padded = `${setup}\n jmp start\n .skip 256\nstart:\n${body}\n hlt`
  const { labels } = assembleListing(padded, { origin: CODE })
  return { text: padded, entry: labels.get('start')! - CODE }
}

const run = (setup: string, body: string, options: Parameters<typeof compare>[1] = {}): ReturnType<typeof compare> => {
  const { text, entry } = listing(setup, body)
  return compare(text, { entry, ...options })
}

describe('a region does what the interpreter does', () => {
  test.each([
    ['sums in a loop', 'mov $10,%ecx', 'xor %eax,%eax; 1: add %ecx,%eax; dec %ecx; jne 1b'],
    ['loops in a loop with a join', 'mov $7,%edx', `
      1: mov $5,%ecx
      2: test $1,%cl; je 3f; add $3,%rax; jmp 4f
      3: sub $1,%rbx
      4: sub $1,%ecx; jne 2b
      sub $1,%edx; jne 1b`],
    ['calls and returns', 'mov $6,%ecx', `
      1: call 2f; call 2f; sub $1,%ecx; jne 1b; jmp 3f
      2: lea 3(%rax),%rax; ret
      3: nop`],
    ['recursion', 'mov $7,%edi', `
         call 1f; jmp 2f
      1: cmp $2,%edi; jb 3f
         push %rdi; sub $1,%edi; call 1b; pop %rdi
         push %rax; sub $2,%edi; call 1b; pop %rdx; add %rdx,%rax; ret
      3: mov $1,%eax; ret
      2: nop`],
    ['a loop that is entered in two places', 'mov $9,%ecx', `
         test $1,%cl; jne 2f
      1: add $5,%rax; sub $1,%ecx
      2: add $7,%rbx; sub $1,%ecx; jg 1b`],
    ['two loops into each other', 'mov $40,%ecx', `
         test $8,%cl; je 2f
      1: add $1,%rax; sub $1,%ecx; je 9f; test $1,%cl; jne 3f
      2: add $2,%rbx; sub $1,%ecx; je 9f; test $2,%cl; je 1b
      3: add $3,%rdx; sub $1,%ecx; je 9f; test $4,%cl; je 2b; jmp 1b
      9: nop`],
    ['bytes of registers', 'mov $0x11223344,%eax; mov $0x55667788,%ebx', `
         mov %ah,%bl; mov %bh,%al; add %ah,%bh; movzbl %ah,%ecx; xchg %al,%ah; mov $0x5,%dh; not %ch; inc %bh`],
    ['words of registers', 'mov $-1,%rax; mov $-1,%rbx', 'mov $5,%ax; add $7,%bx; movzwl %bx,%ecx; xchg %ax,%bx; neg %cx'],
    ['memory in many forms', `lea ${DATA}(%rip),%rsi; mov $${DATA},%esi; mov $3,%ecx`, `
         movq $77,(%rsi); addl $5,8(%rsi,%rcx,8); incb 1(%rsi); mov %cx,20(%rsi,%rcx); xchg %eax,(%rsi)
         mov %rax,64(%rsi); orq $0x50,64(%rsi); sub 8(%rsi,%rcx,8),%rdx; cmpl $5,(%rsi); setb 40(%rsi); cmp %rcx,(%rsi)
         shlq $3,64(%rsi); rorb $1,65(%rsi); push (%rsi); pop 72(%rsi); notl 64(%rsi); negw 66(%rsi)`],
    ['the stack pointer as its own operand', `mov $${DATA},%esi`, `
         push %rsp; pop %rax; push %rax; pop (%rsp,%rcx); push $5; pop %rbx; mov %rsp,%rbp; push %rbp; leave`],
    ['shifts by zero and more', 'mov $0x80000001,%eax; stc', `
         1: shl %cl,%eax; setb %bl; sar %cl,%rax; rol %cl,%ax; rcl $1,%eax; shld $3,%eax,%edx; shrd %cl,%edx,%eax
         add $1,%cl; cmp $40,%cl; jne 1b`],
    ['sums with carry', 'mov $-1,%rax; mov $3,%ecx', `
         1: add $1,%rax; adc $0,%rbx; sbb %rdx,%rdx; adc %al,%bl; sbb $5,%ax; setb %r8b; adc %ecx,%ecx; jb 2f
         2: sub $1,%r9d; inc %ecx; jne 1b`],
    ['flags that stay as they were', 'stc; mov $5,%ecx', `
         1: inc %eax; setb %bl; dec %cx; seto %dl; lea 1(%rcx),%esi; inc %al; jb 2f; stc
         2: dec %ecx; jg 1b; pushf; pop %rdx; lahf; cmc; pushf; pop %rdi`],
    ['multiplication, division, bits', 'mov $1234567,%eax; mov $89,%ecx', `
         mul %ecx; div %rcx; imul $7,%rax,%rbx; imul %ecx,%ebx; cqto; idiv %ecx; bsf %ebx,%esi; bsr %rbx,%rdi; popcnt %rbx,%r8
         bt $3,%ebx; adc $0,%r9; bts %ecx,%ebx; cmpxchg %ecx,%ebx; xadd %eax,%ebx; bswap %rax; cwtl`],
    ['conditional moves and sets', 'mov $5,%eax; mov $-5,%ebx', `
         cmp %eax,%ebx; cmovl %eax,%ecx; cmovb %ebx,%edx; setg %sil; test %ebx,%ebx; cmovs %rbx,%rdi; setp %r8b; cmovne %ax,%r9w`],
    ['vectors', `mov $${DATA},%esi; mov $0x1234567,%eax`, `
         movd %eax,%xmm0; pshufd $0x1b,%xmm0,%xmm1; paddd %xmm0,%xmm1; movups %xmm1,16(%rsi); pxor 16(%rsi),%xmm0
         movq %xmm1,%rbx; cvtsi2sd %eax,%xmm2; addsd %xmm2,%xmm2; ucomisd %xmm2,%xmm1; cvttsd2si %xmm2,%rcx`],
    ['counted loops', 'mov $9,%ecx', '1: add $2,%rax; cmp $11,%rax; loopne 1b; .byte 0xe3,3; inc %rbx; mov $4,%ecx; 3: inc %rdx; loop 3b'],
    ['jumps to addresses worked out', 'mov $3,%ecx', `
         1: lea 2f(%rip),%rax; test $1,%cl; jne 3f; lea 4f(%rip),%rax
         3: jmp *%rax
         2: add $5,%rbx
         4: sub $1,%ecx; jne 1b`],
  ])('%s', (_, setup, body) => {
    expect(run(setup, body, { budgets: [1000, 9, 4] }).inside).toBeGreaterThan(0)
  })

  test('with every budget, to the instruction', () => {
    const body = '1: mov $3,%ecx; 2: add %ecx,%eax; test $1,%al; je 3f; inc %rbx; 3: dec %ecx; jne 2b; sub $1,%edx; jne 1b'
    run('mov $6,%edx', body, { budgets: Array.from({ length: 120 }, (_, budget) => budget), total: 110 })
  })

  test('with every limit of instructions', () => {
    const body = `
         call 1f; jmp 2f
      1: cmp $2,%edi; jb 3f
         push %rdi; sub $1,%edi; call 1b; pop %rdi
         push %rax; sub $2,%edi; call 1b; pop %rdx; add %rdx,%rax; ret
      3: mov $1,%eax; ret
      2: nop`
    for (let limit = 1; limit <= 24; limit += 3) run('mov $6,%edi', body, { limit })
  })
})

describe('where code has been seen to lead', () => {
  const loop = `
      again: lea odd(%rip),%rax; test $1,%cl; jne calls; lea even(%rip),%rax
      calls: call *%rax
      back: sub $1,%ecx; jne again; jmp end
      odd: add $3,%rbx; ret
      even: lea 7(%rbx,%rcx),%rbx; ret
      end: nop`
  const { text, entry } = listing('mov $30,%ecx', loop)
  const { labels } = assembleListing(text, { origin: CODE })
  /** What begins blocks of the way that the interpreter takes: what has a label. */
  const begins = new Set(labels.values())
  const way = (): number[] => {
    const bench = decoded(text)
    bench.clear()
    const addresses = Array.from({ length: 250 }, () => {
      bench.cpu.run(1)
      return bench.rip
    })
    return addresses.filter((address, index) => begins.has(address) && address !== addresses[index - 1])
  }

  test('calls by registers and returns stay in the region', () => {
    const trace = way()
    const seen = compare(text, { entry, seen: { trace } })
    const unseen = compare(text, { entry })
    expect(seen.causes).not.toContain('indirect')
    expect(unseen.causes).toContain('indirect')
    expect(seen.inside).toBeGreaterThan(1.5 * unseen.inside)
  })

  test('with every budget, and to places that were not seen', () => {
    const trace = way().slice(0, 5)
    const { causes } = compare(text, { entry, seen: { trace }, budgets: Array.from({ length: 60 }, (_, budget) => budget) })
    expect(causes).toContain('indirect')
  })
})

describe('a region leaves before what it cannot carry out', () => {
  test('a fault in the middle of a loop', () => {
    const { causes, inside } = run(`mov $${DATA + 7 * 4096 + 4000},%esi`, '1: mov %esi,(%rsi); add $8,%rsi; mov (%rsi),%eax; jmp 1b')
    expect(causes).toContain('memory')
    expect(inside).toBeGreaterThan(20)
  })

  test('accesses that go on in the next page', () => {
    const { causes } = run(`mov $${DATA + 4092 - 64},%esi; mov $20,%ecx`, '1: add %rcx,(%rsi); add $5,%rsi; sub $1,%ecx; jne 1b')
    expect(causes).toContain('memory')
  })

  test('division by zero, and a quotient that is too large', () => {
    expect(run('mov $3,%ecx', '1: mov $100,%eax; xor %edx,%edx; sub $1,%ecx; div %ecx; jmp 1b').causes).toContain('instruction')
    expect(run('mov $1,%ecx; mov $5,%edx', 'inc %eax; div %rcx; inc %eax').causes).toContain('instruction')
  })

  test('a return to an address that is not canonical', () => {
    expect(run('mov $1,%eax; shl $62,%rax', 'push %rax; nop; ret').causes).toContain('instruction')
  })

  test('vectors that are not aligned', () => {
    expect(run(`mov $${DATA + 4},%esi`, 'inc %eax; movaps (%rsi),%xmm0').causes).toContain('instruction')
  })

  test('what is not decoded, or nothing for regions', () => {
    expect(run('mov $1,%ecx', 'inc %eax; cpuid; inc %eax; jmp 1f; 1: nop').causes).toContain('instruction')
    expect(run('', 'inc %eax; test %eax,%eax; je 1f; nop; 1: nop', { limit: 2 }).causes).toContain('target')
  })
})

describe('pages kept in locals', () => {
  const total = 30_000

  test('are left at their ends, by aligned accesses and by others', () => {
    const body = '1: mov (%rsi),%rax; add $3,%rsi; mov %al,-2(%rdi); sub $1,%rdi; addl $1,(%rdi); sub $1,%ecx; jne 1b'
    run(`mov $${DATA},%esi; mov $${DATA + 8 * 4096 - 8},%edi; mov $9000,%ecx`, body, { total, budgets: [total] })
  })

  test('are read through what is kept for writes, but not the other way round', () => {
    const body = '1: mov 8(%rsi),%rax; test $0x700,%ecx; jne 2f; mov %ecx,8(%rsi); 2: add $8,%rsi; sub $1,%ecx; jne 1b'
    const { causes } = run(`mov $${CODE + 256},%esi; mov $2000,%ecx`, body, { total, budgets: [total] })
    expect(causes).toContain('memory')
  })

  test('of the stack follow calls, and those of tables small indices', () => {
    const body = `
      1: movzbl %cl,%eax; mov ${DATA + 16}(,%rax,8),%rbx; add %rcx,%rbx; mov %rbx,${DATA + 16}(,%rax,8); call 2f; sub $1,%ecx; jne 1b; jmp 3f
      2: push %rcx; push %rbx; sub $24,%rsp; mov %rax,8(%rsp); movb $1,23(%rsp); mov 8(%rsp),%rdx; add $24,%rsp; pop %r8; pop %r9; ret
      3: nop`
    run('mov $1200,%ecx', body, { total, budgets: [total] })
  })

  test('begin with none, so that the first page of memory has no translation', () => {
    const { causes } = run('xor %esi,%esi; mov $5,%ecx', 'jmp 2f; 1: mov (%rsi),%eax; 2: sub $1,%ecx; jne 1b', { total })
    expect(causes).toContain('memory')
  })
})

describe('an exit tells the flags', () => {
  test.each([
    ['of ADC with the carry that went in', 'stc; adc %rax,%rbx; mov (%rsi),%edx'], ['of SBB with it', 'stc; sbb %rbx,%rax; mov (%rsi),%edx'],
  ])('%s', (_, body) => {
    // Nothing is known of the page, so that the region is left behind the sum.
    expect(run('mov $-1,%rbx; mov $0x666000,%esi', body).causes).toContain('memory')
  })
})

describe('the entry of a region', () => {
  test('is not entered from where the same frame is mapped elsewhere', () => {
    const text = '1: inc %eax; cmp $5,%eax; jne 1b; hlt'
    const bench = decoded(text)
    const region = bench.discover(CODE)
    if (typeof region === 'string') throw new Error(region)
    const enter = bench.compile(region)
    const other = 0x50_0000
    bench.map(other, undefined, bench.host(CODE) >>> 12)
    bench.jump(other)
    expect(bench.enter(region, enter, 100)).toEqual({ status: STATUS.NEXT, executed: 0, cause: 'mapping' })
    bench.jump(CODE)
    expect(bench.enter(region, enter, 100).executed).toBeGreaterThan(0)
  })

  test('is left to the records behind it when an exit leads there, so that something is always done', () => {
    const bench = decoded(`mov $${DATA},%esi; 1: mov (%rsi),%eax; add $4096,%rsi; jmp 1b`)
    const region = bench.discover(CODE + 5)
    if (typeof region === 'string') throw new Error(region)
    bench.set('rsi', 0x66_6000)
    bench.jump(CODE + 5)
    expect(bench.enter(region, bench.compile(region), 100)).toEqual({ status: STATUS.NEXT, executed: 0, cause: 'memory' })
  })
})
