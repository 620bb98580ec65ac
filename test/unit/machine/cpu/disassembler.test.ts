import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { Disassembler, disassemble, disassembleAll } from '../../../../src/machine/index.ts'
import { SeededRandom, fillRandom } from '../../../../src/util/index.ts'
import { hexBytes } from '../../../support/cpu.ts'
import { guestFile, whyMissing } from '../../../support/guests.ts'
import { allForms } from '../../../oracle/forms.ts'
import { makeRecipe } from '../../../oracle/encode.ts'
import { FLAT_MODE, LONG_MODE } from '../../../oracle/segments.ts'
import { type Tally, compareListing, hasObjdump } from '../../../support/objdump.ts'

const bytes = (hex: string): Uint8Array => Uint8Array.from(hexBytes(hex))

describe('one instruction', () => {
  test.each([
    ['4889e5', 'mov    %rsp,%rbp'],
    ['488d0551000000', 'lea    0x51(%rip),%rax        # 0x58'],
    ['c7442410ffffffff', 'movl   $0xffffffff,0x10(%rsp)'],
    ['4883c4f8', 'add    $0xfffffffffffffff8,%rsp'],
    ['662e0f1f840000000000', 'cs nopw 0x0(%rax,%rax,1)'],
    ['f3c3', 'repz ret'],
    ['f348ab', 'rep stos %rax,%es:(%rdi)'],
    ['f0480fb111', 'lock cmpxchg %rdx,(%rcx)'],
    ['65488b042528000000', 'mov    %gs:0x28,%rax'],
    ['480fc7f0', 'rdrand %rax'],
    ['0fae20', 'xsave  (%rax)'],
    ['f30f1efa', 'endbr64'],
    ['7402', 'je     0x4'],
    ['dd00', 'fldl   (%rax)'],
    ['0f0b', 'ud2'],
  ])('%s is %s', (code, text) => expect(disassemble(bytes(code)).text).toBe(text))

  test('its operands are values, in the manual\'s order', () => {
    const { mnemonic, operands, kind } = disassemble(bytes('488b840b00010000'), { address: 0x1000 })
    expect([mnemonic, kind]).toEqual(['mov', 'offered'])
    expect(operands).toEqual([
      { kind: 'register', register: 'rax', size: 64 },
      {
        kind: 'memory', size: 64, segment: undefined, base: 'rbx', index: 'rcx', scale: 1, displacement: 0x100,
        hasDisplacement: true, address: undefined,
      },
    ])
  })

  test('a branch names its target, a kernel\'s address as 64 bits', () => {
    const call = disassemble(bytes('e8fbffffff'), { address: -0x7f00_0000 })
    expect(call.operands).toEqual([{ kind: 'target', address: -0x7f00_0000 }])
    expect(call.text).toBe('call   0xffffffff81000000')
  })

  test.each([
    ['what CPUID does not offer', '0f01ee', 'refused', 3],
    ['a LOCK prefix where none may be', 'f04889c8', 'refused', 4],
    ['a vector extension', '62f17c4858c1', 'refused', 6],
    ['no instruction', '06', 'bad', 1],
    ['an instruction that goes on', '48b80000', 'cut', 1],
    ['nothing at all', '', 'cut', 1],
  ])('%s is told apart', (_, code, kind, length) => {
    expect(disassemble(bytes(code))).toMatchObject({ kind, length })
  })

  test('shorter code has other instructions', () => {
    expect(disassemble(bytes('06'), { codeSize: 32 }).text).toBe('push   %es')
    expect(disassemble(bytes('8b4708'), { codeSize: 16 }).text).toBe('mov    0x8(%bx),%ax')
  })
})

test('a range of bytes comes out as its instructions, whatever the bytes are', () => {
  const noise = new Uint8Array(20_000)
  fillRandom(new SeededRandom(3), noise)
  let at = 0x40_0000
  for (const { address, length } of disassembleAll(noise, { address: at })) {
    expect(address).toBe(at)
    at += length
  }
  expect(at).toBeGreaterThanOrEqual(0x40_0000 + noise.length)
})

/** What a listing must come to: every length right, every difference of a known class. */
function expectAgreement(tally: Tally, least: number): void {
  expect([...tally.classes.keys()].filter((name) => name.startsWith('unknown'))).toEqual([])
  expect(tally.instructions).toBeGreaterThan(least)
}

describe.skipIf(!hasObjdump())(`against objdump${hasObjdump() ? '' : ' (SKIPPED: no objdump on this machine)'}`, () => {
  const disassembler = new Disassembler('x86-64-v3')
  const folder = mkdtempSync(join(tmpdir(), 'listing-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const compare = (args: readonly string[], codeSize: 32 | 64 = 64): Promise<Tally> =>
    compareListing(args, codeSize, ({ bytes: code, address }) => disassembler.at(code, 0, { address, codeSize }))

  const busybox = guestFile('busybox')
  test.skipIf(busybox === undefined)(`the whole text of Debian's BusyBox is the same, but for AVX-512${whyMissing('busybox') ?? ''}`, async () => {
    const tally = await compare(['-d', '-j', '.text', busybox!])
    expectAgreement(tally, 390_000)
    expect(tally.wrongLength).toBe(0)
    expect([...tally.classes.keys()].filter((name) => !name.startsWith('AVX'))).toEqual([])
  }, 120_000)

  test.each([64, 32] as const)('every form with a VEX prefix of %d-bit code is the same', async (codeSize) => {
    const random = new SeededRandom(codeSize)
    const mode = codeSize === 64 ? LONG_MODE : FLAT_MODE
    const vex = allForms(codeSize).filter(({ row }) => row.vex !== undefined)
    // Of shorter addresses objdump has habits that the noise below is for.
    const all = vex.flatMap((form) => [1, 2, 3].map(() => makeRecipe(random, [form], mode).code)).filter((code) => !code.subarray(0, 2).includes(0x67))
    const code = all.flatMap((one) => [...one])
    const file = join(folder, `vex-${codeSize}`)
    writeFileSync(file, Uint8Array.from(code))
    const tally = await compare(['-D', '-b', 'binary', '-m', codeSize === 64 ? 'i386:x86-64' : 'i386', file], codeSize)
    expectAgreement(tally, 3000)
    expect(tally.wrongLength).toBe(0)
    expect(tally.same / tally.instructions).toBeGreaterThan(0.97)
  }, 60_000)

  const grub = guestFile('grub32')
  test.skipIf(grub === undefined)(`a 32-bit kernel, code and data, differs in known ways only${whyMissing('grub32') ?? ''}`, async () => {
    expectAgreement(await compare(['-D', '-b', 'binary', '-m', 'i386', grub!], 32), 20_000)
  }, 60_000)

  test.each([64, 32] as const)('random bytes as %d-bit code differ in known ways only', async (codeSize) => {
    const noise = new Uint8Array(100_000)
    fillRandom(new SeededRandom(codeSize), noise)
    const file = join(folder, `noise-${codeSize}`)
    writeFileSync(file, noise)
    const tally = await compare(['-D', '-b', 'binary', '-m', codeSize === 64 ? 'i386:x86-64' : 'i386', file], codeSize)
    expectAgreement(tally, 35_000)
    expect(readFileSync(file)).toHaveLength(noise.length)
  }, 60_000)
})
