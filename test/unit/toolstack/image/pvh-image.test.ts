/** Kernels for PVH guests: what their note has to say, and what is refused by name. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { XenError } from '../../../../src/util/index.ts'
import { parseKernelImage } from '../../../../src/toolstack/image/kernel-image.ts'
import { parsePvhImage } from '../../../../src/toolstack/image/pvh-image.ts'
import { makeElf, makeElf32, type TestElf, type TestNote, withGuestSection } from '../../../support/elf-image.ts'
import { guestFile, whyMissing } from '../../../support/guests.ts'

const code = new Uint8Array(0x1800).fill(0x90)
const PHYS32_ENTRY = 18
const word = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer)
const ENTRY: TestNote = { type: PHYS32_ENTRY, value: word(0x100010) }
const XEN: TestNote = { type: 5, value: 'xen-3.0' }
const small = (over: Partial<TestElf> = {}): TestElf => ({ segments: [{ address: 0x100000, bytes: code }], notes: [ENTRY], ...over })

function failure(work: () => unknown): XenError {
  try {
    work()
  } catch (error) {
    if (XenError.is(error, 'INVALID_IMAGE')) return error
    throw error
  }
  throw new Error('accepted')
}

describe('a PVH kernel', () => {
  test('begins where its note says, in a file of 64 or of 32 bits', () => {
    const wanted = { start: 0x100000, end: 0x101800, entry: 0x100010 }
    expect(parsePvhImage(makeElf(small()))).toMatchObject(wanted)
    expect(parsePvhImage(makeElf32(small()))).toMatchObject(wanted)
    expect(parsePvhImage(makeElf(small({ notes: [{ type: PHYS32_ENTRY, value: 0x100010n }] })))).toMatchObject(wanted)
  })

  test('may be a PV kernel as well, as Linux is', () => {
    const both = makeElf(small({ entry: 0x100020n, notes: [XEN, ENTRY] }))
    expect(parsePvhImage(both).entry).toBe(0x100010)
    expect(parseKernelImage(both).entry).toBe(0x100020)
  })

  test('keeps addresses of 32 bits whole', () => {
    const high = makeElf32({ segments: [{ address: 0xc0000000, bytes: code }], notes: [{ type: PHYS32_ENTRY, value: word(0xc0000004) }] })
    expect(parsePvhImage(high)).toMatchObject({ start: 0xc0000000, end: 0xc0001800, entry: 0xc0000004 })
  })

  const reason = whyMissing('grubPvh')
  test.skipIf(reason !== undefined)(`is what GRUB for PVH is${reason ?? ''}`, () => {
    expect(parsePvhImage(readFileSync(guestFile('grubPvh')!))).toMatchObject({ start: 0x100000, end: 0x297500, entry: 0x100000 })
  })
})

describe('a kernel of another kind', () => {
  test('with notes for PV guests alone is told to be one', () => {
    const { message, details } = failure(() => parsePvhImage(makeElf(small({ notes: [XEN] }))))
    expect(message).toMatch(/"PHYS32_ENTRY" is not among them: .* a PV guest alone, with type="pv"/)
    expect(details['field']).toBe('notes')
  })

  test('with the older section alone is told the same, and one with neither that it is no Xen guest', () => {
    expect(failure(() => parsePvhImage(makeElf(small({ notes: [], guestSection: 'XEN_VER=xen-3.0' })))).message).toMatch(/a PV guest alone/)
    expect(failure(() => parsePvhImage(makeElf(small({ notes: [] })))).message).toMatch(/not a Xen guest/)
  })

  test('with the note for PVH guests alone is no PV guest', () => {
    expect(failure(() => parseKernelImage(makeElf(small()))).message).toMatch(/a PVH guest alone, with type="pvh"/)
    expect(failure(() => parseKernelImage(makeElf32(small({ notes: [XEN] })))).message).toMatch(/note PAE_MODE "" is not "yes"/)
  })
})

describe('a hostile PVH kernel is refused', () => {
  test.each<[string, Partial<TestElf>, RegExp]>([
    ['an entry point below its segments', { notes: [{ type: PHYS32_ENTRY, value: word(0xfffff) }] }, /note PHYS32_ENTRY 0xfffff lies outside/],
    ['an entry point behind its segments', { notes: [{ type: PHYS32_ENTRY, value: word(0x101800) }] }, /note PHYS32_ENTRY .* lies outside/],
    ['an entry point between its segments', {
      segments: [{ address: 0x100000, bytes: code }, { address: 0x200000, bytes: code }], notes: [{ type: PHYS32_ENTRY, value: word(0x180000) }],
    }, /lies outside/],
    ['an entry point of more than 32 bits', { notes: [{ type: PHYS32_ENTRY, value: 0x1_0010_0010n }] }, /is no number of 32 bits/],
    ['a note cut to three bytes', { notes: [{ type: PHYS32_ENTRY, value: new Uint8Array(3) }] }, /note PHYS32_ENTRY 0x3 bytes long is not a number/],
    ['an empty note', { notes: [{ type: PHYS32_ENTRY, value: new Uint8Array(0) }] }, /0x0 bytes long is not a number/],
    ['segments beyond 4 GiB', { segments: [{ address: 0x100000, bytes: code }, { address: 0xffff_f000, bytes: code }] }, /outside of the first 4 GiB/],
    ['an unknown feature that it requires', { notes: [ENTRY, { type: 10, value: '!flying' }] }, /"flying" is required and unknown/],
  ])('%s', (_name, over, message) => {
    expect(failure(() => parsePvhImage(makeElf(small(over)))).message).toMatch(message)
  })

  test('with a typed error however a file of 32 bits is cut, and whatever word of its headers is overwritten', () => {
    const good = makeElf32(small())
    for (let size = 0; size < 200; size += 1) failure(() => parsePvhImage(good.slice(0, size)))
    for (let at = 0; at < 52 + 64; at += 2) {
      const file = good.slice()
      file.fill(0xff, at, at + 2)
      try { parsePvhImage(file) } catch (error) { expect(XenError.is(error, 'INVALID_IMAGE')).toBe(true) }
    }
  })
})

describe('a kernel of 32 bits for PV guests', () => {
  const [VIRT_BASE, PAE_MODE] = [3, 9]
  const kernel = (over: Partial<TestElf>): Uint8Array => makeElf32(small({ entry: 0x100000n, notes: [XEN], ...over }))
  test.each(['yes', 'yes,bimodal'])('is one with the note PAE_MODE "%s"', (value) => {
    expect(parseKernelImage(kernel({ notes: [XEN, { type: PAE_MODE, value }] }))).toMatchObject({ bits: 32, hasExtendedCr3: true, initialP2m: undefined })
  })

  test('may claim more of its last note than there is, as GRUB\'s does', () => {
    const file = kernel({ notes: [XEN, { type: PAE_MODE, value: 'yes' }] })
    new DataView(file.buffer).setUint32(file.length - 16, 12, true)
    expect(parseKernelImage(file).hasExtendedCr3).toBe(true)
    file.set([1, 1, 1, 1], file.length - 4)
    expect(failure(() => parseKernelImage(file)).message).toMatch(/n_descsz 0xc reaches beyond/)
  })

  test.each<[string, Partial<TestElf>, RegExp]>([
    ['no word of PAE', {}, /note PAE_MODE "" is not "yes"/],
    ['another mode', { notes: [XEN, { type: PAE_MODE, value: 'no' }] }, /note PAE_MODE "no"/],
    ['a segment in the hypervisor\'s hole', {
      notes: [XEN, { type: PAE_MODE, value: 'yes' }, { type: VIRT_BASE, value: word(0xf500_0000) }], segments: [{ address: 0x80_0000, bytes: code }],
      entry: 0xf580_0000n,
    }, /where Xen itself lies/],
  ])('is refused with %s', (_name, over, message) => {
    expect(failure(() => parseKernelImage(kernel(over))).message).toMatch(message)
  })
})

describe('a kernel of 32 bits with the older __xen_guest section', () => {
  const SAYS = { GUEST_OS: 'mini', XEN_VER: 'xen-3.0', VIRT_BASE: '0xc0000000', ELF_PADDR_OFFSET: '0x0', VIRT_ENTRY: '0xc0100000', PAE: 'yes', LOADER: 'generic' }
  const textOf = (over: Readonly<Record<string, string | undefined>>): string =>
    Object.entries({ ...SAYS, ...over }).flatMap(([key, value]) => value === undefined ? [] : [`${key}=${value}`]).join(',')
  const file = (text: string): Uint8Array<ArrayBuffer> => withGuestSection(makeElf32(small({ entry: 0x100000n, notes: [XEN] })), text)

  test.each([['yes', false], ['yes[extended-cr3]', true], ['yes,bimodal', false]])('is one with PAE=%s', (value, hasExtendedCr3) => {
    expect(parseKernelImage(file(`${textOf({ PAE: value })}\0`))).toMatchObject({ bits: 32, entry: 0xc010_0000, virtualBase: 0xc000_0000, hasExtendedCr3, notes: { source: '__xen_guest' } })
  })

  test('may count physical addresses from its base, have a hypercall page by number, and end without a zero', () => {
    const base = { VIRT_BASE: '0', VIRT_ENTRY: '1048576', ELF_PADDR_OFFSET: undefined, HYPERCALL_PAGE: '0x101' }
    expect(parseKernelImage(file(textOf(base)))).toMatchObject({ virtualBase: 0, entry: 0x10_0000, hypercallPage: 0x10_1000 })
  })

  const bad: readonly (readonly [string, Readonly<Record<string, string | undefined>>, RegExp])[] = [
    ['no word of PAE', { PAE: undefined }, /__xen_guest PAE "" is not "yes"/], ['PAE=no', { PAE: 'no' }, /__xen_guest PAE "no"/],
    ['PAE=', { PAE: '' }, /__xen_guest PAE "" is not/], ['a base that is no number', { VIRT_BASE: '0xc000000g' }, /VIRT_BASE "0xc000000g" is not a number/],
    ['a number that is too long', { VIRT_ENTRY: '0x1c0100000c0100000' }, /VIRT_ENTRY .* is not a number/],
    ['a base of 64 bits', { VIRT_BASE: '0x800000000000' }, /VIRT_BASE .* is not a canonical address/],
    ['an entry outside of it', { VIRT_ENTRY: '0xd0000000' }, /entry point 0xd0000000 lies outside/],
    ['a base in Xen\'s hole', { VIRT_BASE: '0xf5800000', VIRT_ENTRY: '0xf5900000' }, /where Xen itself lies/],
    ['a hypercall page outside of it', { HYPERCALL_PAGE: '0x900' }, /HYPERCALL_PAGE 0xc0900000/], ['another loader', { LOADER: 'special' }, /LOADER/],
    ['another interface', { XEN_VER: 'xen-2.0' }, /XEN_VER/],
  ]
  test.each(bad)('is refused with %s', (_, over, message) => {
    expect(failure(() => parseKernelImage(file(`${textOf(over)}\0`))).message).toMatch(message)
  })

  test('is refused where the section reaches beyond the file', () => {
    const long = file(textOf({}))
    new DataView(long.buffer).setUint32(long.length - 40 + 20, 0x1000_0000, true)
    expect(failure(() => parseKernelImage(long)).message).toMatch(/section 2 sh_offset .* reaches beyond the file/)
  })
})
