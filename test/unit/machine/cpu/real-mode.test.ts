import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import { CR0, GPR, MSR, RFLAGS, SEGMENT, VECTOR } from '../../../../src/x86/index.ts'
import { AT, VirtualBench } from '../../../support/virtualised.ts'

const IMAGE = 0xf_0000
const RESULTS = 0xe9

/** A processor in real mode at AT.CODE, with handlers of one HLT each by the table at 0. */
function real(options: ConstructorParameters<typeof VirtualBench>[0] = {}): VirtualBench {
  const b = new VirtualBench(options)
  for (let vector = 0; vector < 256; vector += 1) b.write32(vector * 4, 0x2000_0000 | (vector * 16))
  b.cpu.startUp(AT.CODE >>> 12)
  b.set('rsp', 0x8000)
  return b
}
const run = (b: VirtualBench, listing: string): number => {
  b.load(listing, 16)
  b.cpu.registers.setRip(0, 0)
  return b.cpu.run(1000)
}
/** Vector of the handler that ended the run. */
const handled = (b: VirtualBench): number =>
  (b.cpu.registers.selector(SEGMENT.cs) === 0x2000 ? (b.cpu.registers.rip() - 1) / 16 : -1)

describe('the state behind INIT and a start-up interrupt', () => {
  test('is real mode at the vector\'s page, with everything else as after reset', () => {
    const b = new VirtualBench()
    b.cpu.system.setMsr(MSR.LSTAR, 5, 0)
    b.cpu.interrupt(0x40)
    b.cpu.nmi()
    b.run('mov $7,%eax; hlt')
    b.cpu.startUp(0x99)
    const { registers, system } = b.cpu
    expect(registers.segment(SEGMENT.cs)).toEqual({ selector: 0x9900, baseLow: 0x9_9000, baseHigh: 0, limit: 0xffff, attributes: 0x9b })
    expect(registers.segment(SEGMENT.ss)).toEqual({ selector: 0, baseLow: 0, baseHigh: 0, limit: 0xffff, attributes: 0x93 })
    expect([registers.rip(), registers.low(GPR.rax), registers.flags(), registers.controlLow(0), registers.controlLow(3), registers.controlLow(4)])
      .toEqual([0, 0, 2, CR0.ET, 0, 0])
    expect([system.msr(MSR.EFER), system.msr(MSR.LSTAR), system.idt, system.tr.attributes])
      .toEqual([[0, 0], [5, 0], { baseLow: 0, baseHigh: 0, limit: 0xffff }, 0x8b])
    expect(b.cpu.save().system).toMatchObject({ interrupts: [], nmi: false, activity: 'running' })
  })

  test('is saved and taken back in the midst of real mode', () => {
    const LISTING = 'mov $0x4321,%ax; mov %ax,%fs; mov $0x7003,%bx; mov %bx,%ss; mov $0x100,%sp; push %ax; pop %cx; hlt'
    const b = real()
    b.load(LISTING, 16)
    b.cpu.registers.setRip(0, 0)
    expect(b.cpu.run(4)).toBe(EXIT.BUDGET)
    const state = b.cpu.save()
    const other = real()
    other.load(LISTING, 16)
    other.cpu.load(JSON.parse(JSON.stringify(state)) as typeof state)
    expect(other.cpu.run(100)).toBe(EXIT.HALT)
    expect([other.get('rcx'), other.cpu.registers.segment(SEGMENT.fs).baseLow, other.cpu.registers.selector(SEGMENT.ss)]).toEqual([0x4321, 0x4_3210, 0x7003])
    for (const control of [[CR0.PG | CR0.ET], [CR0.NW | CR0.PG]]) {
      const bad = { ...state, control: [control[0]! >>> 0, ...state.control.slice(1)] }
      expect(() => b.cpu.load(bad)).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
    }
  })
})

describe('what real mode refuses', () => {
  const refused: readonly [string, string, number][] = [
    ['an access behind the limit', 'mov 0xffff,%ax', VECTOR.GP],
    ['one through the stack segment', 'mov $0xffff,%bp; mov 0(%bp),%ax', VECTOR.SS],
    ['a far jump behind the limit', '.byte 0x66,0xea; .long 0x10000; .word 0xf000', VECTOR.GP],
    ['LLDT', 'lldt %ax', VECTOR.UD], ['LTR', 'ltr %ax', VECTOR.UD], ['SLDT', 'sldt %ax', VECTOR.UD], ['STR', 'str %ax', VECTOR.UD],
    ['LAR', 'lar %ax,%bx', VECTOR.UD], ['LSL', 'lsl %ax,%bx', VECTOR.UD], ['VERR', 'verr %ax', VECTOR.UD], ['VERW', 'verw %ax', VECTOR.UD],
    ['ARPL', 'arpl %ax,%bx', VECTOR.UD], ['SYSCALL', 'syscall', VECTOR.UD],
    ['paging without protection', 'mov $0x80000000,%eax; mov %eax,%cr0', VECTOR.GP],
  ]
  test.each(refused)('%s', (_, code, vector) => {
    const b = real()
    expect(run(b, `${code}; hlt`)).toBe(EXIT.HALT)
    expect(handled(b)).toBe(vector)
    // Nothing but flags, CS and IP is on the stack.
    expect(b.get('rsp')).toBe(0x8000 - 6)
  })

  test.each([['that of a double fault, where there is one', 0x23, VECTOR.DF], ['none, and it shuts down', 0x1f, -1]])(
    'a vector behind the end of the table: %s', (_, limit, vector) => {
      const b = real()
      b.cpu.system.idt = { baseLow: 0, baseHigh: 0, limit }
      run(b, 'int $0x40')
      expect([handled(b), b.cpu.exit.reason]).toEqual([vector, vector < 0 ? EXIT.SHUTDOWN : EXIT.HALT])
    })

  test('code may be written through CS, and an external interrupt comes by the table', () => {
    const b = real()
    run(b, 'mov $0x1234,%ax; mov %ax,%cs:0x80; sti; hlt')
    expect(b.read32(AT.CODE + 0x80) & 0xffff).toBe(0x1234)
    b.cpu.interrupt(0x21)
    b.cpu.run(10)
    expect([handled(b), b.cpu.registers.flags() & RFLAGS.IF]).toEqual([0x21, 0])
  })
})

/** The image of modes.S, if there is an assembler. */
function image(folder: string): string | undefined {
  const [object, path] = [join(folder, 'modes.o'), join(folder, 'modes.bin')]
  const source = new URL('modes.S', import.meta.url).pathname
  if (spawnSync('as', ['--32', '-o', object, source]).status !== 0) return undefined
  const linked = spawnSync('ld', ['-m', 'elf_i386', '-Ttext', '0', '--entry', '0', '--oformat', 'binary', '-o', path, object])
  return linked.status === 0 ? path : undefined
}

const words = (bytes: Uint8Array): string[] =>
  Array.from({ length: bytes.length >> 2 }, (_, i) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(i * 4, true).toString(16))

function oursOf(path: string): string[] {
  const results: number[] = []
  const b = new VirtualBench({
    ports: {
      read: () => 0xffff_ffff,
      write: (port, _size, value) => {
        if (port === RESULTS) results.push(value)
      },
    },
  })
  b.write(IMAGE, readFileSync(path))
  b.cpu.startUp(IMAGE >>> 12)
  b.cpu.run(100_000)
  expect(b.cpu.exit.reason).toBe(EXIT.HALT)
  return words(Uint8Array.from(results))
}

function qemusOf(path: string, folder: string): string[] {
  const output = join(folder, 'output')
  spawnSync('qemu-system-x86_64', [
    '-machine', 'pc,accel=tcg', '-cpu', 'qemu64', '-display', 'none', '-nodefaults', '-bios', path, '-debugcon', `file:${output}`,
    '-device', 'isa-debug-exit,iobase=0xf4,iosize=4',
  ], { timeout: 60_000 })
  return words(Uint8Array.from(readFileSync(output)))
}

const hasTools = process.platform === 'linux' && [['as', '--version'], ['ld', '--version'], ['qemu-system-x86_64', '--version']]
  .every(([tool, option]) => spawnSync(tool!, [option!]).status === 0)

test.skipIf(!hasTools)(`the modes one behind the other, from real mode to long mode and back, as QEMU has them${hasTools ? '' : ' (SKIPPED: no as, ld or QEMU on this machine)'}`, { timeout: 120_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-modes-'))
  try {
    const path = image(folder)!
    expect(existsSync(path)).toBe(true)
    const theirs = qemusOf(path, folder)
    expect(theirs.at(-1)).toBe('c0de000d')
    expect(oursOf(path)).toEqual(theirs)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
