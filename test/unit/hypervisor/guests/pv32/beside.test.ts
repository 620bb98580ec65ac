/** 32-bit guests in the hypervisor's saved state, and under random hypercalls and machine code. `FUZZ=n` makes n thousand calls and n hundred programs. */
import { describe, expect, test } from 'vitest'
import { HYPERVISOR } from '../../../../../src/abi/index.ts'
import { type MemoryState, memoryShape } from '../../../../../src/machine/index.ts'
import { SeededRandom, XenError, below, part, type SavedTree } from '../../../../../src/util/index.ts'
import { PTE } from '../../../../../src/x86/index.ts'
import { BASE, M2P, PLACE, PaeGuest, PaeHost, TABLES } from '../../../../support/pae-guest.ts'

const FUZZ = Number(process.env['FUZZ'] ?? 0)
const CALLS = FUZZ === 0 ? 300 : FUZZ * 1000
const PROGRAMS = FUZZ === 0 ? 6 : FUZZ * 100

const hasEnded = ({ hypervisor, domid }: PaeGuest): boolean => hypervisor.domainInfo(domid).shutdownReason !== undefined

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
  test('goes on as the original, in another hypervisor', { timeout: 60_000 }, () => {
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

test('random hypercalls of a 32-bit guest harm nobody', { timeout: 60_000 + FUZZ * 20_000 }, () => {
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
    const isOver = hasEnded(guest)
    if (!isOver && i % 25 !== 0) continue
    expect(guest.hypervisor.checkInvariants()).toEqual([])
    if (!isOver) continue
    expect(host.harm()).toEqual([])
    host = new PaeHost()
    guest = new PaeGuest({ host })
  }
  expect(host.harm()).toEqual([])
})

/** What a hostile kernel of ring 1 does, or a process that it has let go to ring 3; `n` and `a` are numbers and addresses. */
const TRICKS: readonly ((n: () => number, a: () => number) => string)[] = [
  (n) => `mov $${n() & 0xffff},%eax; mov %eax,%ds`, (n) => `mov $${n() & 0xffff},%eax; mov %eax,%ss`, (n) => `mov $${n() & 0xffff},%eax; mov %eax,%gs; mov %gs:${n() & 0xfff},%ecx`,
  (n, a) => `push $${n() & 0xffff}; push $${a() | 0}; lret`, (n, a) => `pushf; push $${n() & 0xffff}; push $${a() | 0}; iret`,
  (_, a) => `push $0xe033; push $${a() | 0}; push $0x202; push $0xe02b; push $${a() | 0}; iret`, (n) => `int $${n() & 0xff}`, () => 'int $0x82', () => 'syscall', () => 'sysenter',
  (n, a) => `movl $${n() | 0},${a() | 0}`, (_, a) => `mov ${a() | 0},%ebx`, (_, a) => `lock xadd %eax,${a() | 0}`, (n, a) => `mov $${n() & 63},%ecx; mov $${a() | 0},%edi; rep stos %eax,%es:(%edi)`,
  (_, a) => `mov $${a() | 0},%esp`, (_, a) => `jmp ${a()}`, (_, a) => `mov $${a() | 0},%eax; mov %eax,%cr3`, (n) => `mov $${n() | 0},%eax; mov %eax,%cr4`, (_, a) => `invlpg ${a() | 0}`,
  () => 'mov $0x11,%eax; mov %eax,%ss; int $0x82', (n) => `mov $${n() & 63},%eax; mov $${n() | 0},%ebx; mov $${n() | 0},%ecx; int $0x82`, () => 'popf', () => 'cli', () => 'hlt', () => 'wrmsr', () => 'clts',
  (n, a) => `ljmp $${n() & 0xffff},$${a()}`, (n) => `mov $${n() | 0},%eax; mov %eax,%db7`,
]

test('random machine code of a 32-bit guest reaches nothing of others, and leaves nothing remembered that it may not', () => {
  const random = new SeededRandom(3212)
  const ended = { alive: 0, crashed: 0 }
  for (let program = 0; program < PROGRAMS; program += 1) {
    const host = new PaeHost()
    const bystander = new PaeGuest({ host })
    host.hypervisor.pauseDomain(bystander.domid)
    const guest = new PaeGuest({ host })
    if (program % 2 === 0) guest.call('vm_assist', 0, 2)
    const table = BASE + 37 * 4096
    const numbers = [0xe019, 0xe021, 0xe02b, 0xe033, 0xe008, 0xe010, 0xe038, 9, 0xf, (guest.frames[5]! << 12) | 3, (guest.frames[TABLES.l1]! << 12) | 3, (bystander.frames[5]! << 12) | 7, 0x202, 23]
    const places = [PLACE.CODE, PLACE.DATA, PLACE.USER_STACK, PLACE.KERNEL_STACK - 64, M2P, M2P + 0x1000, table + 0x800, BASE + 32 * 4096, BASE + 36 * 4096 + 428 * 8, 0xffff_fffc, guest.frames[TABLES.l3]! * 4096, 0]
    const n = (): number => (below(random, 3) === 0 ? below(random, 2 ** 32) : numbers[below(random, numbers.length)]!)
    const a = (): number => (below(random, 4) === 0 ? below(random, 2 ** 32) : places[below(random, places.length)]! + below(random, 3) * 4) >>> 0
    // One by one, each from the state that the one before has left: most of them trap.
    for (let step = 0; step < 24; step += 1) {
      guest.run(TRICKS[below(random, TRICKS.length)]!(n, a))
      if (hasEnded(guest)) break
      if (step % 6 === 5) expect([program, host.hypervisor.checkInvariants()]).toEqual([program, []])
    }
    ended[hasEnded(guest) ? 'crashed' : 'alive'] += 1
    expect(bystander.read(PLACE.DATA, 4)).toEqual([0, 0, 0, 0])
    expect([program, host.harm()]).toEqual([program, []])
  }
  expect([ended.alive > 0, ended.crashed > 0]).toEqual([true, true])
}, 60_000 + FUZZ * 60_000)
