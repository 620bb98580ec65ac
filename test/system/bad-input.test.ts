/** Creations that fail, for every reason that there is: a typed error, nothing left behind, and the host goes on. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Host, embeddedKernel, type DomainOptions, type KernelSource } from '../../src/index.ts'
import { withoutLeaks } from '../../src/testing/index.ts'
import { makeElf } from '../support/elf-image.ts'

let host: Host
beforeAll(async () => {
  host = await Host.boot({ memory: 96, dom0Memory: 8 })
})
afterAll(async () => {
  await host.shutdown()
})

/** The embedded kernel with some bytes overwritten. */
function damaged(offset: number, bytes: readonly number[]): Uint8Array {
  const image = embeddedKernel()
  image.set(bytes, offset)
  return image
}

const options = (over: Partial<DomainOptions<KernelSource>>): DomainOptions<KernelSource> => ({
  name: 'bad',
  memory: 16,
  ...over,
})

describe('creating a domain', () => {
  test.each<[string, string | DomainOptions<KernelSource>, object]>([
    [
      'an unknown option',
      options({ memroy: 16 } as Partial<DomainOptions<KernelSource>>),
      { code: 'INVALID_CONFIG', details: { key: 'memroy', nearest: 'memory' } },
    ],
    ['a wrong type', 'name = "bad"\nmemory = "lots"', { code: 'INVALID_CONFIG', details: { line: 2, column: 10 } }],
    ['an unclosed list', 'name = "bad"\ndisk = [ "a"', { code: 'INVALID_CONFIG', details: { line: 2, column: 8 } }],
    ['no name', 'memory = 16', { code: 'INVALID_CONFIG' }],
    ["dom0's name", options({ name: 'Domain-0' }), { code: 'DOMAIN_EXISTS' }],
    ['a kernel that is not there', options({ kernel: '/nosuch' }), { code: 'IO', details: { path: '/nosuch' } }],
    [
      'a kernel that is no ELF file',
      options({ kernel: new TextEncoder().encode('#!/bin/sh\n'.repeat(20)) }),
      { code: 'INVALID_IMAGE' },
    ],
    ['a cut kernel', options({ kernel: embeddedKernel().subarray(0, 5000) }), { code: 'INVALID_IMAGE' }],
    [
      'a kernel for another machine',
      options({ kernel: damaged(18, [3]) }),
      { code: 'INVALID_IMAGE', details: { field: 'e_machine' } },
    ],
    [
      'a kernel that is not for Xen',
      options({ kernel: makeElf({ segments: [{ address: 0, bytes: new Uint8Array(99) }] }) }),
      { code: 'INVALID_IMAGE' },
    ],
    [
      'too little memory for the kernel',
      options({ memory: 1 }),
      { code: 'OUT_OF_MEMORY', details: { segment: 'initial mapping' } },
    ],
    [
      'more memory than the host has',
      options({ memory: 2000 }),
      { code: 'OUT_OF_MEMORY', details: { neededPages: 512000 } },
    ],
    [
      'a ramdisk that does not fit',
      options({ ramdisk: new Uint8Array(17 << 20) }),
      { code: 'OUT_OF_MEMORY', details: { segment: 'ramdisk' } },
    ],
    ['a command line that is too long', options({ commandLine: 'x'.repeat(2000) }), { code: 'INVALID_CONFIG' }],
    ['a kernel where Xen itself lies', options({
      kernel: makeElf({
        entry: 0xffff800000001000n, segments: [{ address: 0x1000, bytes: new Uint8Array(4096) }],
        notes: [{ type: 5, value: 'xen-3.0' }, { type: 3, value: 0xffff800000000000n }],
      }),
    }), { code: 'INVALID_IMAGE', details: { field: 'note VIRT_BASE' } }],
  ])('with %s fails and leaves nothing behind', async (_name, config, error) => {
    await expect(withoutLeaks(host, () => host.createDomain(config))).rejects.toMatchObject(error)
    expect(host.domains()).toEqual([])
  })

  test.each(['image-loaded', 'domain-made', 'memory-built'] as const)(
    'aborted after %s leaves nothing behind',
    async (step) => {
      const controller = new AbortController()
      await expect(
        withoutLeaks(host, () => {
          const creation = host.createDomain(options({}), { signal: controller.signal })
          creation.progress.on(step, () => controller.abort())
          return creation
        }),
      ).rejects.toMatchObject({ code: 'ABORTED' })
    },
  )

  test('under a name that is taken fails, also when both creations run at once', async () => {
    const both = await Promise.allSettled([host.createDomain(options({})), host.createDomain(options({}))])
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    await expect(host.createDomain(options({}))).rejects.toMatchObject({ code: 'DOMAIN_EXISTS' })
    await host.domain('bad').destroy()
  })

  test('works afterwards as before', async () => {
    await withoutLeaks(host, async () => {
      const domain = await host.createDomain(options({ name: 'good' }))
      await domain.console.waitFor('mini> ')
      await domain.destroy()
    })
  })

  test('a hundred times gives everything back each time', { timeout: 60_000 }, async () => {
    await withoutLeaks(host, async () => {
      for (let i = 0; i < 100; i += 1) {
        const domain = await host.createDomain(options({ name: `n${i}`, memory: 8 }), { paused: true })
        await domain.destroy()
      }
    })
  })
})

describe('a hostile kernel', () => {
  /** A kernel of a few instructions. */
  const machine = (code: readonly number[]): Uint8Array =>
    makeElf({
      entry: 0x1000n,
      segments: [
        { address: 0x1000, bytes: Uint8Array.from([...code, ...new Array<number>(64).fill(0x90), 0xeb, 0xfe]) },
      ],
      notes: [{ type: 5, value: 'xen-3.0' }],
    })
  const mov = (register: 'rdi' | 'rsi' | 'rdx', value: bigint): number[] => {
    const opcode = { rdi: 0xbf, rsi: 0xbe, rdx: 0xba }[register]
    return [0x48, opcode, ...new Uint8Array(new BigUint64Array([BigInt.asUintN(64, value)]).buffer)]
  }
  const call = (number: number): number[] => [0xb8, number & 0xff, (number >> 8) & 0xff, 0, 0, 0x0f, 0x05]

  test.each<[string, readonly number[], string]>([
    ['an undefined instruction', [0x0f, 0x0b], 'crash'],
    ['a jump into nowhere', [0x48, 0xb8, 0, 0, 0, 0, 0, 1, 0, 0, 0xff, 0xe0], 'crash'],
    ['a write to its own page table', [0x48, 0x8b, 0x46, 0x58, 0xc6, 0x00, 0x00], 'crash'],
    ['a stack that does not exist and a trap', [0x48, 0x31, 0xe4, 0x0f, 0x0b], 'crash'],
    ['a division by zero', [0x31, 0xc9, 0xf7, 0xf1], 'crash'],
    ['a halt, which Xen leaves to its hypercall', [0xf4], 'crash'],
  ])('that runs into %s hurts itself alone', async (_name, code, outcome) => {
    await withoutLeaks(host, async () => {
      const domain = await host.createDomain(options({ kernel: machine(code), actions: { crash: 'preserve' } }))
      expect(await domain.waitForShutdown({ timeout: 1e9 })).toBe(outcome)
      await domain.destroy()
    })
  })

  test.each<[string, readonly number[], number]>([
    ['a hypercall that does not exist', call(63), -38],
    ['a hypercall number beyond all', call(0x7fff), -38],
    ['a pointer outside of the guest', [...mov('rdi', 1n), ...mov('rsi', 0x7fff_ffff_f000n), ...call(17)], -14],
    ['a pointer into Xen', [...mov('rdi', 1n), ...mov('rsi', 0xffff_8000_0000_0000n), ...call(17)], -14],
    ['a non-canonical pointer', [...mov('rdi', 1n), ...mov('rsi', 0x1234_5678_9abc_def0n), ...call(17)], -14],
    [
      'an event channel that is not its own',
      [...mov('rdi', 4n), 0x48, 0x89, 0xe6, 0x48, 0x83, 0xee, 0x40, 0xc7, 0x06, 99, 0, 0, 0, ...call(32)],
      -22,
    ],
    // Its version is looked at before its caller.
    ['domctl', call(36), -13],
  ])('that makes %s gets the error of Xen', async (_name, code, expected) => {
    const results: number[] = []
    const stop = host.hypervisor.events.on('hypercall', ({ domid, result }) => {
      if (domid !== 0) results.push(result)
    })
    await withoutLeaks(host, async () => {
      // Afterwards it writes the result's register and ends with ud2, so that the run is over.
      const domain = await host.createDomain(
        options({ kernel: machine([...code, 0x0f, 0x0b]), actions: { crash: 'preserve' } }),
      )
      expect(await domain.waitForShutdown({ timeout: 1e9 })).toBe('crash')
      await domain.destroy()
    })
    stop()
    expect(results).toEqual([expected])
  })
})
