import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { XenError } from '../../../../src/util/index.ts'
import { parseFeatures } from '../../../../src/toolstack/image/features.ts'
import { parseKernelImage } from '../../../../src/toolstack/image/kernel-image.ts'
import { gunzip, unpackKernel, unpackRamdisk } from '../../../../src/toolstack/image/unpack.ts'
import { makeElf, type TestElf, type TestNote } from '../../../support/elf-image.ts'

const code = new Uint8Array(0x1800).fill(0x90)
const note = (type: number, value: TestNote['value'], owner?: string): TestNote => ({
  type,
  value,
  ...(owner === undefined ? {} : { owner }),
})
const XEN = note(5, 'xen-3.0')
const small = (over: Partial<TestElf> = {}): TestElf => ({
  entry: 0x100010n,
  segments: [{ address: 0x100000, bytes: code }],
  notes: [XEN],
  ...over,
})

function failure(work: () => unknown): XenError {
  try {
    work()
  } catch (error) {
    if (XenError.is(error, 'INVALID_IMAGE')) return error
    throw error
  }
  throw new Error('accepted')
}

describe('a kernel image', () => {
  test('without addresses in its notes starts at e_entry, based at 0, as GRUB does', () => {
    expect(parseKernelImage(makeElf(small()))).toMatchObject({
      virtualBase: 0,
      start: 0x100000,
      end: 0x101800,
      entry: 0x100010,
      virtualOffset: 0,
      hypercallPage: undefined,
      initialP2m: undefined,
      moduleByFrame: false,
      notes: { source: 'segment', xenVersion: 'xen-3.0' },
    })
  })

  test('reads all notes of a Linux kernel', () => {
    const image = parseKernelImage(
      makeElf({
        segments: [{ address: 0x1000000, bytes: code, size: 0x3000 }],
        notes: [
          note(6, 'linux'),
          note(7, '2.6'),
          XEN,
          note(3, 0xffffffff80000000n),
          note(15, 0x8000000000n),
          note(1, 0xffffffff81000200n),
          note(10, '!writable_page_tables|pae_pgdir_above_4gb'),
          note(17, new Uint8Array([0x01, 0x88, 0, 0])),
          note(9, 'yes'),
          note(8, 'generic'),
          note(13, new Uint8Array(16)),
          note(14, 1n),
          note(16, 1n),
          note(12, 0xffff800000000000n),
          note(4, 0n),
          note(18, 0x1000850n),
          note(1, 0x666n, 'GNU'),
        ],
      }),
    )
    expect(image).toMatchObject({
      virtualBase: -0x80000000,
      start: -0x7f000000,
      end: -0x7effd000,
      entry: -0x7efffe00,
      initialP2m: 0x8000000000,
      moduleByFrame: true,
      features: { supported: 0x8811, required: 1 },
      notes: { guestOs: 'linux', suspendCancel: true, hypervisorStart: -0x800000000000, supportedFeatures: 0x8801 },
    })
  })

  test('with notes in a section only, and a hypercall page, as small kernels have them', () => {
    expect(parseKernelImage(makeElf(small({ notes: [XEN, note(2, 0x101000n)], notesIn: 'section' })))).toMatchObject({
      hypercallPage: 0x101000, entry: 0x100010, notes: { source: 'section' },
    })
  })

  test('with an old __xen_guest section, whose hypercall page is a page number', () => {
    const image = parseKernelImage(
      makeElf({
        entry: 0xffffffff80100000n,
        segments: [{ address: -0x7ff00000 + 2 ** 32, bytes: code }].map((s) => ({ ...s, address: 0x80100000 })),
        guestSection:
          'GUEST_OS=linux,XEN_VER=xen-3.0,VIRT_BASE=0x80000000,ELF_PADDR_OFFSET=0x80000000,'
          + 'VIRT_ENTRY=0x80100000,HYPERCALL_PAGE=0x101,LOADER=generic',
      }),
    )
    expect(image).toMatchObject({
      virtualBase: 0x80000000,
      start: 0x80100000,
      entry: 0x80100000,
      hypercallPage: 0x80101000,
      notes: { source: '__xen_guest' },
    })
  })

  test('an INIT_P2M that the builder cannot honour is left out', () => {
    expect(parseKernelImage(makeElf(small({ notes: [XEN, note(15, 0x8000000800n)] }))).initialP2m).toBeUndefined()
    expect(parseKernelImage(makeElf(small({ notes: [XEN, note(15, 0x8000000000n)] }))).initialP2m).toBeUndefined()
  })

  test.each<[string, TestElf, RegExp]>([
    ['no notes at all', small({ notes: [] }), /not a Xen guest/],
    ["notes of others only", small({ notes: [note(1, 1n, 'GNU')] }), /not a Xen guest/],
    ['another interface version', small({ notes: [note(5, 'xen-2.0')] }), /XEN_VERSION "xen-2\.0"/],
    ['another loader', small({ notes: [XEN, note(8, 'special')] }), /LOADER/],
    [
      'a non-canonical address',
      small({ notes: [XEN, note(1, 0x8000_0000_0000_00n << 4n)] }),
      /ENTRY .* not a canonical/,
    ],
    [
      'a note of 3 bytes where a number stands',
      small({ notes: [XEN, note(1, new Uint8Array(3))] }),
      /note ENTRY 0x3 bytes long/,
    ],
    ['an entry point outside', small({ notes: [XEN, note(1, 0x200000n)] }), /entry point 0x200000 lies outside/],
    [
      'segments below the base',
      small({ notes: [XEN, note(3, 0x200000n), note(4, 0x200000n)] }),
      /lies below VIRT_BASE/,
    ],
    ['a hypercall page outside', small({ notes: [XEN, note(2, 0x900000n)] }), /HYPERCALL_PAGE 0x900000/],
    ['a hypercall page that is none', small({ notes: [XEN, note(2, 0x100800n)] }), /HYPERCALL_PAGE 0x100800/],
    ['a p2m list inside the kernel', small({ notes: [XEN, note(15, 0x101000n)] }), /INIT_P2M 0x101000/],
    [
      'an unknown feature that it requires',
      small({ notes: [XEN, note(10, '!flying')] }),
      /"flying" is required and unknown/,
    ],
    [
      'a feature of other guests that it requires',
      small({ notes: [XEN, note(10, '!auto_translated_physmap')] }),
      /cannot have it/,
    ],
    ['nothing to load', small({ segments: [{ address: 0x100000, bytes: code, flags: 0 }] }), /hold nothing to load/],
    [
      'a bad number in __xen_guest',
      small({ notes: [], guestSection: 'VIRT_BASE=zero' }),
      /__xen_guest VIRT_BASE "zero"/,
    ],
  ])('%s is refused', (_name, elf, message) => {
    expect(failure(() => parseKernelImage(makeElf(elf))).message).toMatch(message)
  })
})

describe('a hostile ELF file', () => {
  const good = makeElf(small({ notes: [XEN, note(2, 0x101000n)], guestSection: 'XEN_VER=xen-3.0' }))

  test.each<[string, number, number, bigint]>([
    ['e_ident magic', 0, 4, 0x464c457en],
    ['e_ident[EI_CLASS]', 4, 1, 3n],
    ['e_ident[EI_DATA]', 5, 1, 2n],
    ['e_ident[EI_VERSION]', 6, 1, 0n],
    ['e_type', 16, 2, 1n],
    ['e_machine', 18, 2, 3n],
    ['e_version', 20, 4, 2n],
    ['e_entry', 24, 8, 0x8000_0000_0000_0000n],
    ['e_phoff', 32, 8, 0xffff_ffff_ffff_fff0n],
    ['e_phoff', 32, 8, 0x100000n],
    ['e_shoff', 40, 8, 0x100000n],
    ['e_ehsize', 52, 2, 10n],
    ['e_phentsize', 54, 2, 8n],
    ['e_phnum', 56, 2, 0xffffn],
    ['e_shentsize', 58, 2, 8n],
    ['e_shnum', 60, 2, 0xffffn],
    ['e_shstrndx', 62, 2, 99n],
    ['segment 0 p_offset', 72, 8, 0x100000n],
    ['segment 0 p_offset', 72, 8, -1n],
    ['segment 0 p_paddr', 88, 8, 0x4000_0000_0000_0000n],
    ['p_paddr', 88, 8, -1n],
    ['segment 0 p_filesz', 96, 8, 0x100000n],
    ['segment 0 p_filesz', 96, 8, -1n],
    ['segment 0 p_memsz', 104, 8, 1n << 62n],
    ['segment 0 p_memsz', 104, 8, (1n << 53n) - 1n],
  ])('is refused with the name of the field %s', (field, offset, size, value) => {
    const file = good.slice()
    const bytes = new Uint8Array(new BigUint64Array([BigInt.asUintN(64, value)]).buffer)
    file.set(bytes.subarray(0, size), offset)
    const error = failure(() => parseKernelImage(file))
    expect([field, field.replace('p_memsz', 'p_filesz')]).toContain(error.details['field'])
  })

  test('with more notes than any kernel has is refused before they are all looked at', () => {
    const large = makeElf({ ...small(), notes: [XEN, ...Array<TestNote>(1024).fill(note(0, '', 'x'))] })
    expect(failure(() => parseKernelImage(large))).toMatchObject({ details: { field: 'notes', value: 1025 } })
  })

  test('whose segments lie on each other is refused, and one that would be written over once more is not', () => {
    const segment = { address: 0x100000, bytes: code, size: 0x2000 }
    const times = (count: number): Uint8Array => makeElf({ ...small(), segments: Array(count).fill(segment) as typeof segment[] })
    expect(parseKernelImage(times(2)).end).toBe(0x102000)
    expect(failure(() => parseKernelImage(times(3)))).toMatchObject({ details: { field: 'p_memsz', value: 0x6000 } })
  })

  test('is refused with a typed error however it is cut', () => {
    for (let length = 0; length < good.length; length += 1) {
      expect(failure(() => parseKernelImage(good.slice(0, length))).details).toHaveProperty('field')
    }
  })

  test('never makes the parser throw anything else, whatever 16-bit field of a header is overwritten', () => {
    const headers = [
      ...Array.from({ length: 64 + 2 * 56 }, (_, i) => i),
      ...Array.from({ length: 4 * 64 }, (_, i) => good.length - 256 + i),
    ]
    for (const offset of headers) {
      for (const value of [0, 1, 0x7f, 0x80, 0xff]) {
        const file = good.slice()
        file.fill(value, offset, offset + 2)
        try {
          parseKernelImage(file)
        } catch (error) {
          if (!XenError.is(error, 'INVALID_IMAGE')) throw error
        }
      }
    }
  })

  test.each([
    [0, 0xffffffff],
    [4, 0xffffffff],
    [0, 0x7fffffff],
    [4, 0x1000],
  ])('with note field at %d set to %d is refused', (field, value) => {
    const file = good.slice()
    const view = new DataView(file.buffer)
    const notesAt = Number(view.getBigUint64(64 + 56 + 8, true))
    view.setUint32(notesAt + field, value, true)
    expect(failure(() => parseKernelImage(file)).details['field']).toMatch(/note n_/)
  })
})

describe('features', () => {
  test.each<[string, number, object]>([
    ['', 0, { supported: 0, required: 0 }],
    ['writable_page_tables|pae_pgdir_above_4gb', 0, { supported: 0x11, required: 0 }],
    ['!writable_page_tables', 0x8000, { supported: 0x8001, required: 1 }],
    ['unknown_but_optional', 0, { supported: 0, required: 0 }],
  ])('%j', (text, also, expected) => {
    expect(parseFeatures(text, also)).toEqual(expected)
  })
})

describe('a packed kernel', () => {
  const elf = makeElf(small())

  function bzImage(payload: Uint8Array, version = 0x20f): Uint8Array {
    const file = new Uint8Array(512 * 5 + 0x100 + payload.length)
    const view = new DataView(file.buffer)
    view.setUint32(0x202, 0x53726448, true)
    view.setUint16(0x206, version, true)
    view.setUint32(0x248, 0x100, true)
    view.setUint32(0x24c, payload.length, true)
    file.set(payload, 512 * 5 + 0x100)
    return file
  }

  test('is found in a gzip file and in a bzImage', async () => {
    expect(await unpackKernel(elf)).toBe(elf)
    expect(await unpackKernel(gzipSync(elf))).toEqual(elf)
    expect(await unpackKernel(bzImage(gzipSync(elf)))).toEqual(elf)
    expect(await unpackKernel(bzImage(elf))).toEqual(elf)
  })

  test.each<[string, Uint8Array, string, RegExp]>([
    ['an xz payload', bzImage(new Uint8Array([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 1])), 'NOT_SUPPORTED', /compression xz/],
    ['damaged gzip data', new Uint8Array([0x1f, 0x8b, 8, 0, 1, 2, 3]), 'INVALID_IMAGE', /gzip data is damaged/],
    ['cut gzip data', gzipSync(elf).subarray(0, 40), 'INVALID_IMAGE', /gzip data is damaged/],
    ['an old boot protocol', bzImage(elf, 0x204), 'INVALID_IMAGE', /setup header version/],
    ['a payload beyond the file', bzImage(elf).subarray(0, 3000), 'INVALID_IMAGE', /payload_length/],
  ])('with %s is refused', async (_name, file, errorCode, message) => {
    await expect(unpackKernel(file)).rejects.toMatchObject({ code: errorCode, message: expect.stringMatching(message) })
  })

  test('for which the host\'s decompressor answers nonsense, or too much, is refused', async () => {
    const packed = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, 0)
    await expect(unpackKernel(packed, async () => 5 as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', details: { option: 'decompress' } })
    await expect(unpackKernel(packed, async (_name, _data, limit) => new Uint8Array(limit + 1), 100)).rejects.toMatchObject({ code: 'INVALID_IMAGE' })
    expect((await unpackKernel(packed, async (_name, _data, limit) => new Uint8Array(limit), 100)).length).toBe(100)
  })

  test('that unpacks to more than the limit is refused before it fills the memory', async () => {
    await expect(gunzip(gzipSync(new Uint8Array(1 << 20)), 1 << 16)).rejects.toMatchObject({
      code: 'INVALID_IMAGE',
      details: { field: 'unpacked size' },
    })
  })

  test('a ramdisk is unpacked when it is a gzip file', async () => {
    const cpio = new TextEncoder().encode('070701')
    expect(await unpackRamdisk(gzipSync(cpio))).toEqual(cpio)
    expect(await unpackRamdisk(cpio)).toBe(cpio)
  })
})
