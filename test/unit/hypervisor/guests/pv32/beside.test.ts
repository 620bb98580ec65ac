/** 32-bit guests in the hypervisor's saved state, and under random hypercalls. `FUZZ=n` makes n thousand calls. */
import { describe, expect, test } from 'vitest'
import { HYPERVISOR } from '../../../../../src/abi/index.ts'
import { type MemoryState, memoryShape } from '../../../../../src/machine/index.ts'
import { SeededRandom, XenError, below, part, type SavedTree } from '../../../../../src/util/index.ts'
import { PTE } from '../../../../../src/x86/index.ts'
import { BASE, M2P, PLACE, PaeGuest, PaeHost, TABLES } from '../../../../support/pae-guest.ts'

const FUZZ = Number(process.env['FUZZ'] ?? 0)
const CALLS = FUZZ === 0 ? 300 : FUZZ * 1000

/** A host of the same memory that has taken what another one was. */
function copyOf(host: PaeHost, change: (tree: SavedTree) => void = () => undefined): PaeHost {
  const saved = structuredClone({ tree: host.hypervisor.save(), memory: host.machine.memory.save() as MemoryState })
  change(saved.tree)
  const copy = new PaeHost()
  part({ name: 'memory', version: 1, shape: memoryShape }, copy.machine.memory).load({ version: 1, state: saved.memory })
  copy.hypervisor.load(saved.tree)
  return copy
}

describe('a saved 32-bit guest', () => {
  test('goes on as the original, in another hypervisor', () => {
    const guest = new PaeGuest()
    guest.words(PLACE.DATA, 0)
    guest.run(`again: incl ${PLACE.DATA}; mov $17,%eax; xor %ebx,%ebx; int $0x82; jmp again`)
    const copy = copyOf(guest.host)
    expect(copy.hypervisor.checkInvariants()).toEqual([])
    for (const { hypervisor } of [guest.host, copy]) hypervisor.run({ instructions: 20_000 })
    expect(copy.hypervisor.stateHashes()).toEqual(guest.hypervisor.stateHashes())
    expect(copy.harm()).toEqual([])
  })

  /** The record of its first vCPU within a tree, however deep. */
  const find = (tree: unknown): Record<string, unknown> | undefined => {
    if (typeof tree !== 'object' || tree === null || ArrayBuffer.isView(tree)) return undefined
    if ('rootFrame' in tree) return tree as Record<string, unknown>
    for (const inner of Object.values(tree)) {
      const found = find(inner)
      if (found !== undefined) return found
    }
    return undefined
  }

  test.each<[string, (vcpu: Record<string, unknown>, guest: PaeGuest) => void]>([
    ['a table of level 4 that is the guest\'s own', (vcpu, { frames }) => { vcpu['rootFrame'] = frames[3]! }],
    ['another table of level 3', (vcpu, { frames }) => { vcpu['baseTable'] = frames[TABLES.l2]! }],
    ['no table', (vcpu) => { vcpu['baseTable'] = 0 }],
    ['a ring of the hypervisor\'s', (vcpu) => {
      const segments = (vcpu['processor'] as { segments: { selector: number }[] }).segments
      for (const segment of segments) segment.selector &= ~3
    }],
    ['64-bit code', (vcpu) => {
      const segments = (vcpu['processor'] as { segments: { attributes: number }[] }).segments
      segments[1]!.attributes |= 0x2000
    }],
  ])('is refused with %s', (_what, spoil) => {
    const guest = new PaeGuest()
    guest.run('nop')
    expect(() => copyOf(guest.host, (tree) => { spoil(find(tree)!, guest) })).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }) as XenError)
  })
})

test('random hypercalls of a 32-bit guest harm nobody', () => {
  const random = new SeededRandom(1132)
  let host = new PaeHost()
  let guest = new PaeGuest({ host })
  const kinds: readonly (() => number)[] = [
    () => below(random, 64), () => below(random, 2 ** 32), () => BASE + below(random, 38 * 4096), () => M2P + below(random, 2 ** 20),
    () => guest.frames[below(random, guest.frames.length)]!, () => guest.frames[TABLES.l3 + below(random, 6)]! * 4096 + below(random, 512) * 8,
    () => ((guest.frames[below(random, 64)]! << 12) | (PTE.PRESENT | below(random, 512))) >>> 0, () => 0x7ff0 + below(random, 6), () => 0xffff_fff0 + below(random, 16),
  ]
  const value = (): number => kinds[below(random, kinds.length)]!()
  // What ends the guest by itself says nothing.
  const names = (Object.keys(HYPERVISOR) as (keyof typeof HYPERVISOR)[]).filter((name) => name !== 'iret' && name !== 'sched_op' && name !== 'sched_op_compat')
  for (let i = 0; i < CALLS; i += 1) {
    for (let at = 0; at < 64; at += 4) guest.words(PLACE.DATA + at, value())
    guest.call(names[below(random, names.length)]!, ...[0, 1, 2, 3, 4].map(() => (below(random, 3) === 0 ? PLACE.DATA + below(random, 8) * 8 : value())))
    const { shutdown } = guest.hypervisor.domainInfo(guest.domid)
    if (!shutdown && i % 25 !== 0) continue
    expect(guest.hypervisor.checkInvariants()).toEqual([])
    if (!shutdown) continue
    expect(host.harm()).toEqual([])
    host = new PaeHost()
    guest = new PaeGuest({ host })
  }
  expect(host.harm()).toEqual([])
})
