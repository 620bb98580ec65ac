/** Far calls and jumps of a 32-bit PV guest through its own call gates, which Xen passes in its place. */
import { describe, expect, test, vi } from 'vitest'
import { COMPAT_FLAT } from '../../../../../src/abi/index.ts'
import { SEGMENT, VECTOR } from '../../../../../src/x86/index.ts'
import { PLACE, PaeGuest } from '../../../../support/pae-guest.ts'

vi.setConfig({ testTimeout: 60_000 })

const { KERNEL_CS, KERNEL_SS, USER_CS, USER_SS } = COMPAT_FLAT
/** Slot of the gate in a descriptor table that the guest owns, and its selector. */
const SLOT = 4
const GATE = SLOT * 8
/** A data segment of the guest's own behind it. */
const DATA = GATE + 8 + 3
const TARGET = PLACE.CODE + 0x400
const STOP = [0xeb, 0xfe]
const toUser = `push $${USER_SS}; push $${PLACE.USER_STACK}; pushf; push $${USER_CS}; push $user; iret`

/** What a gate may be like. */
interface GateOptions {
  readonly selector?: number
  readonly level?: number
  readonly parameters?: number
  readonly present?: number
}

/** A guest with a gate: code segment, level, parameters, what else of its high half. */
function withGate({ selector = KERNEL_CS, level = 3, parameters = 0, present = 0x8000 }: GateOptions = {}): PaeGuest {
  const guest = new PaeGuest()
  const table = guest.frames[21]!
  guest.write(TARGET, STOP)
  guest.host.machine.memory.bytes.fill(0, table * 4096, table * 4096 + 4096)
  const view = guest.host.machine.memory.view
  view.setUint32(table * 4096 + GATE, ((selector << 16) | (TARGET & 0xffff)) >>> 0, true)
  view.setUint32(table * 4096 + GATE + 4, ((TARGET & 0xffff_0000) | present | (level << 13) | 0xc00 | parameters) >>> 0, true)
  view.setUint32(table * 4096 + GATE + 8, 0x0000_ffff, true)
  view.setUint32(table * 4096 + GATE + 12, 0x00cf_f300, true)
  return guest
}

/** Puts the table in force. */
function enforce(guest: PaeGuest): void {
  const list = guest.words(PLACE.DATA + 0x800, guest.frames[21]!)
  const low = guest.frames[21]! * 4096
  // Descriptors are mapped for reading only.
  expect(guest.call('update_va_mapping', PLACE.DATA + 4096, low + 0x25, 0, 2)).toBe(0)
  expect(guest.call('set_gdt', list, 64)).toBe(0)
}

describe('a call gate of a 32-bit guest', () => {
  test('is called within the kernel, directly and through memory, and jumped through', () => {
    const guest = withGate()
    enforce(guest)
    guest.run(`lcall $${GATE | 1},$0`)
    expect([guest.get('rsp'), guest.processor.registers.rip(), guest.processor.registers.selector(SEGMENT.cs)]).toEqual([PLACE.KERNEL_STACK - 8, TARGET, KERNEL_CS])
    expect(guest.stack(2)).toEqual([PLACE.CODE + 7, KERNEL_CS])
    guest.words(PLACE.DATA, 0x1234, GATE | 1)
    guest.set('rsp', PLACE.KERNEL_STACK)
    guest.run(`mov $${PLACE.DATA - 8},%ebx; lcall *8(%ebx)`)
    expect([guest.processor.registers.rip(), guest.stack(2)]).toEqual([TARGET, [PLACE.CODE + 8, KERNEL_CS]])
    guest.set('rsp', PLACE.KERNEL_STACK)
    guest.run(`ljmp $${GATE | 1},$0`)
    expect([guest.processor.registers.rip(), guest.get('rsp')]).toEqual([TARGET, PLACE.KERNEL_STACK])
    expect(guest.host.harm()).toEqual([])
  })

  test('leads from ring 3 to the kernel\'s stack, with parameters', () => {
    const guest = withGate({ parameters: 2 })
    enforce(guest)
    guest.run(`${toUser}; user: push $0x11; push $0x22; lcall $${GATE | 3},$0`)
    expect([guest.processor.registers.rip(), guest.processor.registers.selector(SEGMENT.cs), guest.get('rsp')]).toEqual([TARGET, KERNEL_CS, PLACE.KERNEL_STACK - 24])
    const [eip, cs, first, second, esp, ss] = guest.stack(6)
    expect([cs, first, second, esp, ss]).toEqual([USER_CS, 0x22, 0x11, PLACE.USER_STACK - 8, USER_SS])
    expect(eip).toBeGreaterThan(PLACE.CODE)
    expect(guest.processor.registers.selector(SEGMENT.ss)).toBe(KERNEL_SS)
    expect(guest.host.harm()).toEqual([])
  })

  test.each([
    ['of the kernel\'s level', { level: 1 }, VECTOR.GP, GATE],
    ['that is not present', { present: 0 }, VECTOR.GP, GATE],
    ['to a data segment', { selector: DATA }, VECTOR.GP, DATA & 0xfffc],
    ['to nothing', { selector: 0x1f8 }, VECTOR.GP, 0x1f8],
  ] as const)('is refused to ring 3 where it is one %s', (_, options, vector, code) => {
    const guest = withGate(options)
    enforce(guest)
    guest.run(`${toUser}; user: lcall $${GATE | 3},$0`)
    expect([guest.trapped, guest.stack(1)]).toEqual([vector, [code]])
    expect(guest.host.harm()).toEqual([])
  })

  test('is no way for a jump to an inner ring', () => {
    const guest = withGate()
    enforce(guest)
    guest.run(`${toUser}; user: ljmp $${GATE | 3},$0`)
    expect([guest.trapped, guest.stack(1)]).toEqual([VECTOR.GP, [KERNEL_CS & 0xfffc]])
    expect(guest.host.harm()).toEqual([])
  })
})
