import { describe, expect, test } from 'vitest'
import { isGuestAddress } from '../../../../src/hypervisor/memory/guest-address.ts'
import { VirtualAccess, findLeaf } from '../../../../src/hypervisor/memory/virtual-access.ts'
import { PTE } from '../../../../src/x86/index.ts'
import { PlainMemory, TABLE, WRITE } from '../../../support/hypervisor-host.ts'

/** Tables in frames 10 to 13 that map two pages at 2 MiB: frame 20 writable, frame 30 read-only; and nothing behind. */
function mapped() {
  const memory = new PlainMemory(64)
  const entry = (table: number, slot: number, frame: number, flags: number): void => {
    memory.words[table * 1024 + slot * 2] = (frame << 12) | flags
  }
  entry(10, 0, 11, TABLE & ~PTE.ACCESSED)
  entry(11, 0, 12, TABLE)
  entry(12, 1, 13, TABLE)
  entry(13, 0, 20, WRITE & ~(PTE.ACCESSED | PTE.DIRTY))
  entry(13, 1, 30, PTE.PRESENT)
  return { memory, access: new VirtualAccess(memory, () => 10) }
}

const BASE = 0x20_0000

describe('memory by virtual address', () => {
  test('is read across a page boundary', () => {
    const { memory, access } = mapped()
    memory.bytes.set([1, 2], 20 * 4096 + 4094)
    memory.bytes.set([3, 4], 30 * 4096)
    const target = new Uint8Array(4)
    expect(access.read(BASE + 4094, target)).toBe(true)
    expect([...target]).toEqual([1, 2, 3, 4])
  })

  test('is written up to the first page that is not writable', () => {
    const { memory, access } = mapped()
    expect(access.write(BASE + 4094, Uint8Array.of(1, 2, 3))).toBe(false)
    expect([...memory.bytes.subarray(20 * 4096 + 4094, 20 * 4096 + 4096)]).toEqual([1, 2])
    expect(memory.bytes[30 * 4096]).toBe(0)
  })

  test('sets accessed and dirty bits as the processor does, and notes the tables as written', () => {
    const { memory, access } = mapped()
    memory.watchWrites(13)
    expect(access.locate(BASE, false)).toBe(20 * 4096)
    expect(memory.words[13 * 1024]! & (PTE.ACCESSED | PTE.DIRTY)).toBe(PTE.ACCESSED)
    expect(memory.words[10 * 1024]! & PTE.ACCESSED).toBe(PTE.ACCESSED)
    expect(memory.isClean(13)).toBe(false)
    expect(access.locate(BASE + 5, true)).toBe(20 * 4096 + 5)
    expect(memory.words[13 * 1024]! & PTE.DIRTY).toBe(PTE.DIRTY)
  })

  test('is not there where a level is missing, or no tables are in force', () => {
    const { memory, access } = mapped()
    expect(access.locate(BASE + 2 * 4096, false)).toBe(-1)
    expect(access.locate(0x4000_0000, false)).toBe(-1)
    expect(findLeaf(memory, 10, 2 ** 39)).toBe(-1)
    expect(new VirtualAccess(memory, () => 0).locate(BASE, false)).toBe(-1)
  })

  test.each([
    [0, true], [0x7fff_ffff_ffff, true], [0x8000_0000_0000, false], [-0x8000_0000_0000, false], [-0x7800_0000_0001, false],
    [-0x7800_0000_0000, true], [-1, true], [2 ** 60, false],
  ])('address %d is the guest\'s: %s', (address, own) => expect(isGuestAddress(address)).toBe(own))
})
