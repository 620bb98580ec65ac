/**
 * Pairs of micro-operations that stand behind one another: dispatched once, they do what both do one by one, wherever the second
 * half cannot go on. One by one is a budget of one instruction, for which blocks are copied without pairs (code/clip.ts).
 */
import { describe, expect, test } from 'vitest'
import { microTable } from '../../../../../src/machine/cpu/interpreter/compiled.ts'
import { EXIT } from '../../../../../src/machine/index.ts'
import { assemble } from '../../../../support/assembler.ts'
import { CODE, CpuBench, DATA, STACK_END } from '../../../../support/cpu.ts'

/** An instruction for each half; the second may differ, so that a half that takes the other's record is seen. */
const TEXT: Readonly<Record<string, readonly [first: string, second: string]>> = {
  'push.64.r': ['push %rax', 'push %rbx'], 'pop.64.r': ['pop %rax', 'pop %rbx'],
  'mov.64.rr': ['mov %rax,%rcx', 'mov %rdx,%rbx'], 'mov.32.rr': ['mov %eax,%ecx', 'mov %edx,%ebx'],
  'mov.64.rm1': ['mov 8(%rsi),%rax', 'mov 16(%rdi),%rbx'], 'mov.64.mr1': ['mov %rax,8(%rsi)', 'mov %rbx,16(%rdi)'],
  'call.64': ['call there', 'call there'], 'ret.64': ['ret', 'ret'], jmp: ['jmp there', 'jmp there'],
  nop: ['nop', 'nop'], 'add.64.ri': ['add $5,%rax', 'add $6,%rbx'], 'xor.32.rr': ['xor %eax,%eax', 'xor %ebx,%ebx'],
}

/** Names of both halves of all pairs that are no comparison with its jump. */
const sequences = microTable().all.flatMap(({ name, pair }) => {
  const [second, ...more] = pair?.seconds ?? []
  return second === undefined || more.length > 0 || second.outline.ends === 'conditional' ? [] : [[pair!.first.name, second.name, name] as const]
})

const BOTTOM = STACK_END - 4 * 4096

/** Where the stack is, and where the second half's data are: with all of it there, and at the edges of what is mapped. */
const PLACES = {
  'all of it is there': { rsp: STACK_END - 256, rdi: DATA + 64 },
  'one word more is on the stack': { rsp: STACK_END - 8, rdi: DATA + 64 },
  'there is nothing on the stack': { rsp: STACK_END, rdi: DATA + 64 },
  'the stack has room for one word': { rsp: BOTTOM + 8, rdi: DATA + 64 },
  'the stack has no room': { rsp: BOTTOM, rdi: DATA + 64 },
  'the second half\'s data are not there': { rsp: STACK_END - 256, rdi: DATA + 9 * 4096 },
  'the second half\'s data are across two pages': { rsp: STACK_END - 256, rdi: DATA + 4096 - 20 },
  'the stack is across two pages': { rsp: STACK_END - 4096 + 4, rdi: DATA + 64 },
} as const

const GENERAL = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rsi', 'rdi'] as const
/** What may be written, with what is around it. */
const LOOKED_AT = [[BOTTOM, 32], [STACK_END - 4096 - 24, 64], [STACK_END - 288, 64], [STACK_END - 32, 32], [DATA, 96], [DATA + 4096 - 32, 64]] as const

/** A program of both halves, with what jumps, calls and returns lead to behind it. */
function bench(first: string, second: string): { readonly b: CpuBench; readonly there: number } {
  const b = new CpuBench()
  const halves = `${TEXT[first]![0]}; ${TEXT[second]![1]}; syscall; there:`
  b.write(CODE, assemble(`${halves} inc %rdx; syscall`))
  return { b, there: CODE + assemble(`${halves} nop`).length - 1 }
}

/** Everything as it was, at one of the places. */
function prepare({ b, there }: ReturnType<typeof bench>, { rsp, rdi }: { readonly rsp: number; readonly rdi: number }): void {
  for (const [at, bytes] of LOOKED_AT) b.write(at, Array.from({ length: bytes }, (_, i) => (at < DATA + 8192 ? i * 7 : Math.floor(there / 256 ** (i % 8))) & 255))
  const values = { rax: 0x1111_2222_3333n, rcx: 0x4444n, rdx: -5n, rbx: 0x7777_8888_9999n, rsp, rsi: DATA, rdi }
  for (const name of GENERAL) b.set(name, values[name])
  b.cpu.registers.setFlags(0x202)
  b.jump(CODE)
}

/** Runs to the exit in steps of so many instructions, and tells all that is to be seen. */
function outcome({ b }: ReturnType<typeof bench>, step: number): { readonly reason: number } & Readonly<Record<string, unknown>> {
  let reason: number = EXIT.BUDGET
  let executed = 0
  for (let steps = 0; reason === EXIT.BUDGET && steps < 20; steps += 1) {
    reason = b.cpu.run(step)
    executed += b.cpu.executed
  }
  const isFault = reason === EXIT.EXCEPTION
  return {
    reason, executed, vector: isFault ? b.cpu.exit.vector : 0, address: isFault ? b.cpu.exit.address : 0, rip: b.cpu.registers.rip() - CODE,
    flags: b.cpu.registers.flags(), general: GENERAL.map((name) => b.get(name)),
    memory: LOOKED_AT.map(([at, bytes]) => Buffer.from(b.read(at, bytes)).toString('hex')),
  }
}

describe('micro-operations that are dispatched together', () => {
  test('there are some, and what each half is can be told', () => {
    expect(sequences.length).toBeGreaterThan(20)
    expect(sequences.filter(([first, second]) => TEXT[first] === undefined || TEXT[second] === undefined)).toEqual([])
  })

  test.each(sequences)('%s and %s', (first, second) => {
    const reasons = new Set<number>()
    const [together, single] = [bench(first, second), bench(first, second)]
    for (const [place, at] of Object.entries(PLACES)) {
      // Once with no page looked up before, and once with all of them.
      for (const b of [together.b, single.b]) b.cpu.flushTlb()
      for (const time of ['at first', 'again']) {
        for (const one of [together, single]) prepare(one, at)
        const seen = outcome(together, 1000)
        expect(seen, `${place}, ${time}`).toEqual(outcome(single, 1))
        reasons.add(seen.reason)
      }
    }
    const mayFault = /push|pop/.test(first) || /push|pop|call|ret|rm1|mr1/.test(second)
    expect(reasons).toEqual(new Set(mayFault ? [EXIT.SYSCALL, EXIT.EXCEPTION] : [EXIT.SYSCALL]))
  })
})
