import { beforeEach, describe, expect, test } from 'vitest'
import { DOMID, ERRNO, MMU, MMUEXT } from '../../../../../src/abi/index.ts'
import { PTE } from '../../../../../src/x86/index.ts'
import { READ, TABLE, TestGuest, TestHost, WRITE } from '../../../../support/hypervisor-host.ts'

let host: TestHost
let guest: TestGuest

beforeEach(() => {
  host = new TestHost()
  guest = host.guest()
})

/** Runs `body`, and finds everything counted and given back afterwards. */
function sound(body: () => void): void {
  body()
  expect(host.problems()).toEqual([])
  for (const { domid } of host.hypervisor.listDomains()) host.hypervisor.destroyDomain(domid)
  expect(host.hypervisor.hostInfo().freeFrames).toBe(host.freeAtBoot)
}

describe('page-table validation', () => {
  test('pins a whole tree, makes its entries safe, and lets it go again', () => {
    sound(() => {
      const data = guest.take()
      const { l4, l3, l2, l1 } = guest.tables([[data, WRITE]])
      expect(guest.pin(4, l4)).toBe(0)
      const infos = [l4, l3, l2, l1].map((frame) => host.hypervisor.frameInfo(frame).type)
      expect(infos).toEqual(['l4', 'l3', 'l2', 'l1'])
      expect(host.hypervisor.frameInfo(data)).toMatchObject({ type: 'writable', typeCount: 1, references: 2 })
      expect(host.problems()).toEqual([])
      expect(guest.unpin(l4)).toBe(0)
      expect(host.hypervisor.frameInfo(l1)).toMatchObject({ typeCount: 0, references: 1, validated: false })
    })
  })

  test('marks entries without USER as the kernel\'s and gives them USER; others become GLOBAL', () => {
    sound(() => {
      const kernel = guest.take()
      const user = guest.take()
      const { l1 } = guest.tables([[kernel, WRITE], [user, WRITE | PTE.USER]])
      expect(guest.pin(1, l1)).toBe(0)
      expect(guest.peek(l1, 0)).toEqual([((kernel << 12) | WRITE | PTE.USER) >>> 0, 1 << 20])
      expect(guest.peek(l1, 1)).toEqual([((user << 12) | WRITE | PTE.USER | PTE.GLOBAL) >>> 0, 0])
    })
  })

  test('writes the hypervisor\'s slots of a top-level table, whatever the guest had there', () => {
    sound(() => {
      const { l4 } = guest.tables([])
      for (let slot = 256; slot < 272; slot += 1) guest.poke(l4, slot, guest.frames[5]!, TABLE)
      guest.poke(l4, 272, 0, 0)
      expect(guest.pin(4, l4)).toBe(0)
      for (let slot = 257; slot < 272; slot += 1) expect(guest.peek(l4, slot)).toEqual([0, 0])
      expect(guest.peek(l4, 256)).toEqual([0, 0])
    })
  })

  const refusals: [string, (guest: TestGuest, other: TestGuest) => number][] = [
    ['a leaf that maps its own table writable', (g) => {
      const l1 = g.take()
      g.poke(l1, 0, l1, WRITE)
      return g.pin(1, l1)
    }],
    ['a leaf that maps another domain\'s frame', (g, other) => {
      const l1 = g.take()
      g.poke(l1, 3, other.frames[3]!, READ)
      return g.pin(1, l1)
    }],
    ['a leaf that maps a free frame', (g) => {
      const l1 = g.take()
      g.poke(l1, 3, host.memory.endFrame - 1, READ)
      return g.pin(1, l1)
    }],
    ['a leaf that maps a frame of the hypervisor', (g) => {
      const l1 = g.take()
      g.poke(l1, 3, host.memory.firstFrame, READ)
      return g.pin(1, l1)
    }],
    ['a leaf beyond the host\'s memory', (g) => {
      const l1 = g.take()
      g.poke(l1, 3, 5, READ, 1)
      return g.pin(1, l1)
    }],
    ['a leaf with cache attributes', (g) => {
      const l1 = g.take()
      g.poke(l1, 3, g.take(), READ | PTE.PCD)
      return g.pin(1, l1)
    }],
    ['a large page', (g) => {
      const l2 = g.take()
      g.poke(l2, 0, g.take(), TABLE | PTE.LARGE)
      return g.pin(2, l2)
    }],
    ['a frame that is mapped writable', (g) => {
      const l1 = g.take()
      const target = g.take()
      g.poke(l1, 0, target, WRITE)
      expect(g.pin(1, l1)).toBe(0)
      return g.pin(1, target)
    }],
    ['a table as one of another level', (g) => {
      const { l4, l1 } = g.tables([])
      expect(g.pin(4, l4)).toBe(0)
      return g.pin(2, l1)
    }],
    ['a frame that is pinned already', (g) => {
      const l1 = g.take()
      expect(g.pin(1, l1)).toBe(0)
      return g.pin(1, l1)
    }],
    ['another domain\'s frame', (g, other) => g.pin(1, other.frames[4]!)],
    ['its own shared_info', (g) => g.pin(1, host.hypervisor.domainInfo(g.domid).sharedInfoFrame)],
    ['a frame number without sense', (g) => g.pin(1, 0xffff_ffff)],
  ]
  test.each(refusals)('refuses to pin %s, and changes nothing', (_name, attempt) => {
    sound(() => {
      const other = host.guest()
      expect(attempt(guest, other)).toBeLessThan(0)
    })
  })

  test('takes all entries back when one in the middle is refused', () => {
    sound(() => {
      const l1 = guest.take()
      const good = guest.take()
      guest.poke(l1, 0, good, WRITE)
      guest.poke(l1, 1, good, WRITE)
      guest.poke(l1, 2, host.memory.endFrame - 1, READ)
      expect(guest.pin(1, l1)).toBe(-ERRNO.EBUSY)
      expect(host.hypervisor.frameInfo(good)).toMatchObject({ typeCount: 0, references: 1 })
    })
  })

  test('lets top-level tables map each other read-only one step deep, and no further', () => {
    sound(() => {
      const a = guest.tables([])
      const b = guest.tables([])
      const c = guest.tables([])
      expect(guest.pin(4, a.l4)).toBe(0)
      expect(guest.pin(4, b.l4)).toBe(0)
      guest.poke(c.l4, 1, c.l4, READ)
      expect(guest.pin(4, c.l4)).toBe(0)
      const value = (frame: number, flags: number): [number, number] => [((frame << 12) | flags) >>> 0, 0]
      expect(guest.update(b.l4, 2, value(a.l4, READ | PTE.WRITABLE))).toBe(-ERRNO.EINVAL)
      expect(guest.update(b.l4, 2, value(a.l4, READ))).toBe(0)
      // b has recursive entries now, so nobody may map b in turn; and a is in use as one, so it may not have any.
      expect(guest.update(c.l4, 2, value(b.l4, READ))).toBe(-ERRNO.EINVAL)
      expect(guest.update(a.l4, 2, value(c.l4, READ))).toBe(-ERRNO.EINVAL)
      expect(host.problems()).toEqual([])
    })
  })
})

describe('mmu_update', () => {
  test('moves references from the old entry to the new one', () => {
    sound(() => {
      const first = guest.take()
      const second = guest.take()
      const { l4, l1 } = guest.tables([[first, WRITE]])
      expect(guest.pin(4, l4)).toBe(0)
      expect(guest.update(l1, 0, [((second << 12) | WRITE) >>> 0, 0])).toBe(0)
      expect(host.hypervisor.frameInfo(first)).toMatchObject({ references: 1, typeCount: 0 })
      expect(host.hypervisor.frameInfo(second)).toMatchObject({ references: 2, typeCount: 1 })
    })
  })

  test('keeps accessed and dirty bits when asked to', () => {
    sound(() => {
      const data = guest.take()
      const { l4, l1 } = guest.tables([[data, WRITE]])
      expect(guest.pin(4, l4)).toBe(0)
      const bare: [number, number] = [((data << 12) | PTE.PRESENT) >>> 0, 0]
      expect(guest.update(l1, 0, bare, { command: MMU.PT_UPDATE_PRESERVE_AD })).toBe(0)
      expect(guest.peek(l1, 0)[0] & (PTE.ACCESSED | PTE.DIRTY)).toBe(PTE.ACCESSED | PTE.DIRTY)
      expect(guest.update(l1, 0, bare)).toBe(0)
      expect(guest.peek(l1, 0)[0] & (PTE.ACCESSED | PTE.DIRTY)).toBe(0)
    })
  })

  test('writes any value into a frame that is no table', () => {
    sound(() => {
      const data = guest.take()
      expect(guest.update(data, 7, [0xdead_beef, 0x1234_5678])).toBe(0)
      expect(guest.peek(data, 7)).toEqual([0xdead_beef, 0x1234_5678])
    })
  })

  test('sets machine-to-physical entries of own frames only', () => {
    sound(() => {
      const other = host.guest()
      const mine = guest.frames[3]!
      expect(guest.update(mine, 0, [777, 0], { command: MMU.MACHPHYS_UPDATE })).toBe(0)
      expect(host.hypervisor.machineToPhys(mine)).toBe(777)
      expect(guest.update(other.frames[3]!, 0, [777, 0], { command: MMU.MACHPHYS_UPDATE })).toBe(-ERRNO.EINVAL)
      expect(host.hypervisor.machineToPhys(other.frames[3]!)).toBe(3)
    })
  })

  const refusals: [string, number, (guest: TestGuest, other: TestGuest) => number][] = [
    ['an unknown command', -ERRNO.ENOSYS, (g) => g.update(g.frames[1]!, 0, [0, 0], { command: 5 })],
    ['another domain\'s table', -ERRNO.EINVAL, (g, other) => g.update(other.frames[1]!, 0, [0, 0])],
    ['a table of a domain that is not named', -ERRNO.ESRCH, (g) => g.update(g.frames[1]!, 0, [0, 0], { owner: 999 })],
    ['another domain\'s frames without privilege', -ERRNO.EPERM, (g, other) => g.update(g.frames[1]!, 0, [0, 0], { owner: other.domid })],
    ['itself by its own number', -ERRNO.ESRCH, (g) => g.update(g.frames[1]!, 0, [0, 0], { owner: g.domid })],
    ['another domain\'s tables without privilege', -ERRNO.EPERM, (g, other) =>
      g.update(other.frames[1]!, 0, [0, 0], { owner: (other.domid + 1) * 0x10000 + DOMID.SELF })],
    ['a slot of the hypervisor\'s', -ERRNO.EINVAL, (g) => {
      const { l4 } = g.tables([])
      expect(g.pin(4, l4)).toBe(0)
      return g.update(l4, 256, [((g.frames[9]! << 12) | TABLE) >>> 0, 0])
    }],
    ['a writable entry for a live table', -ERRNO.EBUSY, (g) => {
      const { l4, l1, l2 } = g.tables([])
      expect(g.pin(4, l4)).toBe(0)
      return g.update(l1, 9, [((l2 << 12) | WRITE) >>> 0, 0])
    }],
    ['a table entry for a data frame that is mapped writable', -ERRNO.EINVAL, (g) => {
      const data = g.take()
      const { l4, l2 } = g.tables([[data, WRITE]])
      expect(g.pin(4, l4)).toBe(0)
      return g.update(l2, 5, [((data << 12) | TABLE) >>> 0, 0])
    }],
  ]
  test.each(refusals)('refuses %s', (_name, error, attempt) => {
    sound(() => {
      const other = host.guest()
      expect(attempt(guest, other)).toBe(error)
    })
  })

  test('counts what was done when a later request of the batch fails', () => {
    sound(() => {
      const { view, scratch } = guest
      const data = guest.take()
      for (let i = 0; i < 3; i += 1) {
        view.setUint32(scratch + 256 + i * 16, i === 2 ? 0xffff_f000 : data * 4096 + i * 8, true)
        view.setUint32(scratch + 256 + i * 16 + 4, 0, true)
        view.setUint32(scratch + 256 + i * 16 + 8, i + 1, true)
      }
      expect(guest.call('mmu_update', scratch + 256, 3, scratch, DOMID.SELF)).toBe(-ERRNO.EINVAL)
      expect(view.getUint32(scratch, true)).toBe(2)
      expect([guest.peek(data, 0)[0], guest.peek(data, 1)[0]]).toEqual([1, 2])
    })
  })

  test('lets a privileged domain map another\'s frames when it names the owner', () => {
    sound(() => {
      const dom0 = host.guest({ privileged: true })
      const { l4, l1 } = dom0.tables([])
      expect(dom0.pin(4, l4)).toBe(0)
      const value: [number, number] = [((guest.frames[7]! << 12) | WRITE) >>> 0, 0]
      expect(dom0.update(l1, 0, value)).toBe(-ERRNO.EBUSY)
      expect(dom0.update(l1, 0, value, { owner: guest.domid })).toBe(0)
      expect(host.hypervisor.frameInfo(guest.frames[7]!)).toMatchObject({ typeCount: 1 })
    })
  })
})

describe('mmuext_op', () => {
  test('clears and copies own frames that are not tables', () => {
    sound(() => {
      const source = guest.take()
      const target = guest.take()
      const { l4, l1 } = guest.tables([])
      expect(guest.pin(4, l4)).toBe(0)
      host.memory.bytes.fill(7, source * 4096, source * 4096 + 4096)
      expect(guest.mmuext(MMUEXT.COPY_PAGE, target, { arg2: source })).toBe(0)
      expect(host.memory.bytes[target * 4096 + 4095]).toBe(7)
      expect(guest.mmuext(MMUEXT.CLEAR_PAGE, target)).toBe(0)
      expect(host.memory.bytes[target * 4096]).toBe(0)
      expect(guest.mmuext(MMUEXT.CLEAR_PAGE, l1)).toBe(-ERRNO.EINVAL)
      expect(guest.mmuext(MMUEXT.COPY_PAGE, l1, { arg2: source })).toBe(-ERRNO.EINVAL)
    })
  })

  const answers: [string, number, number][] = [
    ['MARK_SUPER', MMUEXT.MARK_SUPER, -ERRNO.EOPNOTSUPP],
    ['a command that does not exist', 99, -ERRNO.ENOSYS],
    ['the command that was removed', 14, -ERRNO.ENOSYS],
    ['TLB_FLUSH_ALL', MMUEXT.TLB_FLUSH_ALL, 0],
    ['FLUSH_CACHE without devices', MMUEXT.FLUSH_CACHE, -ERRNO.EACCES],
    ['unpinning what is not pinned', MMUEXT.UNPIN_TABLE, -ERRNO.EINVAL],
  ]
  test.each(answers)('answers %s', (_name, command, answer) => {
    sound(() => expect(guest.mmuext(command, guest.frames[2]!)).toBe(answer))
  })

  test('faults on arguments outside of the guest\'s frames', () => {
    sound(() => {
      const other = host.guest()
      expect(guest.call('mmuext_op', other.scratch, 1, 0, DOMID.SELF)).toBe(-ERRNO.EFAULT)
      expect(guest.call('mmu_update', host.memory.endFrame * 4096, 1, 0, DOMID.SELF)).toBe(-ERRNO.EFAULT)
      expect(guest.call('mmu_update', -4096, 1, 0, DOMID.SELF)).toBe(-ERRNO.EFAULT)
    })
  })
})

describe('a dying domain', () => {
  test('takes its recursive tables apart', () => {
    sound(() => {
      const a = guest.tables([[guest.take(), WRITE]])
      const b = guest.tables([])
      guest.poke(a.l4, 9, a.l4, READ)
      expect(guest.pin(4, a.l4)).toBe(0)
      expect(guest.pin(4, b.l4)).toBe(0)
      expect(guest.update(b.l4, 9, [((a.l4 << 12) | READ) >>> 0, 0])).toBe(0)
    })
  })

  test('stays as long as another domain maps one of its frames', () => {
    sound(() => {
      const dom0 = host.guest({ privileged: true })
      const port = host.hypervisor.port(dom0.domid)
      const frame = guest.frames[5]!
      expect(port.mapForeign(guest.domid, frame)).toBe(frame)
      guest.destroy()
      expect(host.hypervisor.domainInfo(guest.domid)).toMatchObject({ dying: true, totalPages: 1 })
      expect(host.problems()).toEqual([])
      expect(port.unmapForeign(guest.domid, frame)).toBe(0)
      expect(host.hypervisor.hasDomain(guest.domid)).toBe(false)
    })
  })
})
