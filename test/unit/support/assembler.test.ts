/**
 * The assembler of tests, held against the disassembler (what it encodes says what was asked for, for every row of the
 * decode table) and against GNU as (the same bytes).
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Disassembler, type Disassembled } from '../../../src/machine/index.ts'
import { instructionRows, type InstructionRow } from '../../../src/machine/cpu/decode/table.ts'
import { SeededRandom, below, fillRandom, type Random } from '../../../src/util/index.ts'
import { asm, assemble, assembleListing } from '../../support/assembler.ts'
import { ESCAPES, MANDATORY } from '../../support/assembler-names.ts'
import { whyNoProgram } from '../../support/programs.ts'

const ADDRESS = 0x1000
type CodeSize = 16 | 32 | 64
const disassembler = new Disassembler()
const plain = ({ text }: Disassembled): string => text.replace(/\s+# .*$/, '').replace(/\s+/g, ' ')

/** Random bytes that a row fits to. */
function instance(row: InstructionRow, random: Random, codeSize: CodeSize): Uint8Array {
  const tail = new Uint8Array(16)
  fillRandom(random, tail)
  if (row.exact !== undefined) tail[0] = row.exact
  else if (row.modrm) {
    if (row.reg !== undefined) tail[0] = (tail[0]! & 0xc7) | (row.reg << 3)
    if (row.mod === 'r') tail[0]! |= 0xc0
    if (row.mod === 'm' && tail[0]! >= 0xc0) tail[0]! &= 0x3f
  }
  const rex = codeSize === 64 && below(random, 3) === 0 ? [0x40 | below(random, 16)] : []
  const size = row.prefix === undefined && below(random, 4) === 0 ? [0x66] : []
  const opcode = row.opcode + below(random, row.lastOpcode - row.opcode + 1)
  return Uint8Array.from([...size, ...(row.prefix === undefined ? [] : MANDATORY[row.prefix]), ...rex, ...ESCAPES[row.map], opcode, ...tail])
}

/** What no assembler takes back: names that are remarks, registers that do not exist, prefixes without effect. */
const isPlain = (one: Disassembled): boolean => (one.kind === 'offered' || one.kind === 'refused') && one.mnemonic !== '(vex)'
  && !/%\?|only\)/.test(one.text) && one.prefixes.every((word) => /^(lock|rep|repz|repnz)$/.test(word)) && !(one.kind === 'refused' && one.prefixes.length > 0)

/** LEA and its like of a register are no instructions, though the row decodes. */
const namesMemory = (row: InstructionRow, code: Uint8Array, one: Disassembled): boolean =>
  row.operands.some((operand) => operand === 'M' || /^M[a-z]+$/.test(operand)) && row.mod !== 'm' && one.operands.some(({ kind }) => kind === 'memory')
  && code[one.length - 1] !== undefined && (code[code.length - 16]! & 0xc0) === 0xc0

function* instances(codeSize: CodeSize, each: number): Generator<Disassembled> {
  const random = new SeededRandom(codeSize)
  for (const row of instructionRows()) {
    if (row.vex !== undefined) continue
    if (row.mode === (codeSize === 64 ? 'i64' : 'o64')) continue
    for (let count = 0; count < each; count += 1) {
      const code = instance(row, random, codeSize)
      const one = disassembler.at(code, 0, { address: ADDRESS, codeSize })
      if (isPlain(one) && !namesMemory(row, code, one)) yield one
    }
  }
}

test.each([64, 32, 16] as const)('every row of the table in %i-bit code is assembled to what the disassembler reads back', (codeSize) => {
  let count = 0
  for (const one of instances(codeSize, 2)) {
    const bytes = assemble(plain(one), { origin: ADDRESS, codeSize })
    const again = disassembler.at(bytes, 0, { address: ADDRESS, codeSize })
    // A shorter form of the same may print another number of zero bytes; a relative address counts from another end.
    if (again.length === one.length) expect(plain(again)).toBe(plain(one))
    expect([again.mnemonic, again.length <= one.length]).toEqual([one.mnemonic, true])
    count += 1
  }
  expect(count).toBeGreaterThan(1100)
}, 60_000)

const missing = whyNoProgram('as', '--version')

describe.skipIf(missing !== undefined)(`GNU as${missing ?? ''}`, () => {
  /** Each line at an offset of its own. */
  function gnu(lines: readonly string[], codeSize: CodeSize): Uint8Array[] {
    const folder = mkdtempSync(join(tmpdir(), 'assembler-'))
    try {
      const source = lines.map((line, at) => `.org ${at * 32}\n${line}`).join('\n')
      writeFileSync(join(folder, 'a.s'), `.code${codeSize}\n${source}\n.org ${lines.length * 32}\n`)
      const assembled = spawnSync('as', [codeSize === 64 ? '--64' : '--32', '-o', join(folder, 'a.o'), join(folder, 'a.s')], { encoding: 'utf8' })
      expect(assembled.stderr).toBe('')
      spawnSync('objcopy', ['-O', 'binary', '-j', '.text', join(folder, 'a.o'), join(folder, 'a.bin')])
      const all = readFileSync(join(folder, 'a.bin'))
      return lines.map((_, at) => all.subarray(at * 32, at * 32 + 32))
    } finally {
      rmSync(folder, { recursive: true })
    }
  }

  const LINES = `
    mov $10,%ecx; mov $1,%rax; mov $-1,%rax; mov $0xffffffff,%eax; movabs $0x123456789abcdef0,%rax; mov %rax,%rbx; mov (%rax),%rbx
    mov %rbx,8(%rsp); mov %rbx,(%rbp); mov %r12,(%r13,%r14,8); mov %al,%bl; mov %ah,%bl; mov %sil,%r9b; movl $5,0x100(%rdi)
    movb $1,(%rax); movw $1,(%rax); movq $1,(%rax); add $1,%eax; add $1000,%eax; add $1000,%ebx; add %eax,%ebx; sub $-8,%rsp
    cmp $0,%rax; test %eax,%eax; test $1,%al; xor %eax,%eax; and $0xf0,%ecx; lea 8(%rax,%rbx,4),%rcx; lea (%rip),%rax; push %rbp
    push $5; push $500; pop %r12; inc %eax; dec %rcx; neg %rax; imul %rax,%rbx; imul $3,%rax,%rbx; div %rcx; shl %eax; shl $3,%rax
    sar %cl,%edx; bt $3,%eax; bts %rax,(%rbx); xchg %rax,%rbx; xchg %eax,%ecx; lock cmpxchg %rdx,(%rcx); lock xadd %eax,(%rbx); movzbl %al,%eax
    movsbl (%rax),%ecx; movslq %eax,%rbx; cltq; cqto; rep stos %al,%es:(%rdi); rep movsq %ds:(%rsi),%es:(%rdi); repz cmpsb %es:(%rdi),%ds:(%rsi)
    jmp *%rax; jmp *(%rax); call *%rbx; ret; ret $8; int3; int $0x82; syscall; sysretq; iretq; hlt; cli; sti; pushf; popf; leave
    mov %rax,%cr3; mov %cr0,%rbx; mov %rax,%db7; mov %eax,%ds; mov %ds,%eax; lgdt (%rdi); lidt (%rdi); ltr %ax; lldt %ax; invlpg (%rax); clts
    wrmsr; rdmsr; cpuid; rdtsc; swapgs; in (%dx),%al; out %al,(%dx); out %al,$0x80; mov %fs:0x28,%rax; mov 0x601000,%eax; movabs 0x123456789ab,%al
    movaps %xmm1,%xmm2; movdqu (%rax),%xmm9; addsd %xmm0,%xmm1; cmpltps %xmm1,%xmm2; cvtsi2sd %rax,%xmm0; pshufd $3,%xmm1,%xmm2; movd %eax,%xmm3
    fld1; fldl (%rax); fstpl (%rax); fadd %st(1),%st; faddp %st,%st(1); fxch %st(2); fninit; fldcw (%rsp); setne %al; cmove %rax,%rbx; nop; ud2`
    .split(/[;\n]/).map((line) => line.trim()).filter((line) => line !== '')

  test('has the same bytes for what tests are written with', () => {
    const theirs = gnu(LINES, 64)
    const different = LINES.flatMap((line, at) => {
      const ours = assemble(line, { origin: at * 32 })
      const same = Buffer.from(ours).equals(theirs[at]!.subarray(0, ours.length))
      return same ? [] : [`${line}: ${Buffer.from(ours).toString('hex')}, GNU as ${Buffer.from(theirs[at]!).toString('hex')}`]
    })
    expect(different).toEqual([])
  })

  test.each([64, 32] as const)('has no shorter encoding of anything in %i-bit code', (codeSize) => {
    const lines = [...instances(codeSize, 1)].map(plain)
      // What GNU as calls otherwise, or takes only with more words than a listing has.
      .filter((line) => !/^(j|call|jmp|loop|xbegin|f?n?eni|lcall|ljmp|bound|movabs|cmov|nop|ud[01]|xabort|data|enclu|vm|inv|sk|llwp|slwp|movdir|enqcmd|fstpnce|rmp|psmash|pvalid|monitor|mwait|clzero|bswap|l?ret|iret|sldt|str |rdpid|movsww)/.test(line) && !/[er]iz|[er]ip/.test(line))
    const theirs = gnu(lines, codeSize)
    const longer = lines.flatMap((line, at) => {
      const ours = assemble(line, { origin: at * 32, codeSize })
      const one = disassembler.at(theirs[at]!, 0, { address: at * 32, codeSize })
      return ours.length <= one.length ? [] : [`${line}: ${Buffer.from(ours).toString('hex')}, GNU as ${Buffer.from(theirs[at]!.subarray(0, one.length)).toString('hex')}`]
    })
    expect(lines.length).toBeGreaterThan(500)
    expect(longer).toEqual([])
  })
})

describe('a listing', () => {
  test('has labels, backwards and forwards, by name and by number', () => {
    expect(asm('1: dec %ecx; jne 1b; jmp 1f; ud2; 1: nop')).toBe('ffc975fceb020f0b90')
    expect(asm('jmp end; .skip 200; end: nop')).toBe(`e9c8000000${'00'.repeat(200)}90`)
    expect(asm('lea data(%rip),%rax; hlt; data: .quad 1')).toBe('488d0501000000f40100000000000000')
    expect(asm('mov $data,%eax; data: .long data', { origin: 0x400000 })).toBe('b80500400005004000')
  })

  test('tells where its labels are', () => {
    expect(assembleListing('start: nop; end: nop', { origin: 0x100 }).labels).toEqual(new Map([['start', 0x100], ['end', 0x101]]))
  })

  test.each([['mov %eax,%rbx', 'cannot assemble'], ['frobnicate %eax', 'cannot assemble'], ['jmp nowhere', 'neither a number nor a label'], ['.wide 1', 'no such directive']])(
    'refuses %s', (line, why) => expect(() => asm(line)).toThrow(why))
})
