import { describe, expect, test } from 'vitest'
import { GTF, GrantEntryV1 } from '../../../src/abi/index.ts'
import { FrameAllocator, balloonStep } from '../../../src/guest/index.ts'
import type { DomId, GrantRef, Mfn } from '../../../src/util/index.ts'
import { XenError } from '../../../src/util/index.ts'
import { type FakeDomain, FakeHypervisor, TestStore } from '../../../src/testing/index.ts'

const other = 2 as DomId
const code = (call: () => unknown): string => {
  try {
    call()
  } catch (error) {
    if (XenError.is(error)) return error.code
    throw error
  }
  return 'nothing thrown'
}

async function guest(pages = 64, options = {}): Promise<{ hub: FakeHypervisor; domain: FakeDomain }> {
  const hub = new FakeHypervisor()
  const domain = hub.createDomain(1, () => undefined, { pages, ...options })
  await hub.settle()
  return { hub, domain }
}

describe('the frames of a guest', () => {
  test('are handed out zeroed, each once, until none is left', async () => {
    const { hub, domain } = await guest(8)
    const { frames } = domain.kernel
    hub.bytes.fill(0xaa, domain.frames[0]! * 4096, (domain.frames[0]! + 1) * 4096)
    const pages = Array.from({ length: 8 }, () => frames.allocate())
    expect(new Set(pages.map((page) => page.frame))).toEqual(new Set(domain.frames))
    expect(pages.every((page) => page.bytes.every((byte) => byte === 0))).toBe(true)
    expect(hub.written.size).toBe(8)
    expect(code(() => frames.allocate())).toBe('OUT_OF_MEMORY')
    frames.release(pages[3]!)
    expect(frames.allocate().frame).toBe(pages[3]!.frame)
  })

  test('refuse a page that was not allocated, and a frame that is not the guest\'s', async () => {
    const { hub, domain } = await guest(8)
    const { frames } = domain.kernel
    const page = frames.allocate()
    frames.release(page)
    expect(code(() => frames.release(page))).toBe('INVALID_ARGUMENT')
    expect(code(() => frames.page(hub.takeFrame()))).toBe('INVALID_ADDRESS')
  })

  test('leave out what the boot information reserves', () => {
    const memory = { view: new DataView(new ArrayBuffer(0)), bytes: new Uint8Array(4 * 4096), words: new Uint32Array(0), markWritten: () => undefined }
    const frames = new FrameAllocator(memory, [0, 1, 2, 3] as Mfn[], [1, 2] as Mfn[])
    expect([frames.allocate().frame, frames.allocate().frame]).toEqual([0, 3])
    expect(frames.free).toBe(0)
    expect(frames.total).toBe(4)
  })
})

describe('grants', () => {
  test('stand in the table as the ABI lays them out, behind the reserved entries', async () => {
    const { hub, domain } = await guest()
    const { grants, frames } = domain.kernel
    const [a, b] = [frames.allocate(), frames.allocate()]
    const refs = [grants.grant(other, a.frame), grants.grant(other, b.frame, { readOnly: true })]
    expect(refs).toEqual([8, 9])
    const entry = (ref: number) => GrantEntryV1.decode(hub.view, domain.grantEntry(ref)!)
    expect(entry(8)).toEqual({ flags: GTF.permit_access, domid: 2, frame: a.frame })
    expect(entry(9)).toEqual({ flags: GTF.permit_access | GTF.readonly, domid: 2, frame: b.frame })
    expect(grants.end(refs[0]!)).toBe(true)
    expect(entry(8).flags).toBe(0)
    expect(grants.grant(other, b.frame)).toBe(8)
  })

  test('that the other side maps cannot be ended, but end when it lets go', async () => {
    const { hub, domain } = await guest()
    const mapper = hub.createDomain(2, () => undefined)
    await hub.settle()
    const { kernel } = domain
    const page = kernel.frames.allocate()
    const ref = kernel.grants.grant(other, page.frame)
    const mapped = mapper.kernel.grants.map(1 as DomId, ref)
    expect(kernel.grants.end(ref)).toBe(false)
    let ended = 0
    kernel.endGrant(ref, () => { ended += 1 })
    await hub.settle(1e9)
    expect([ended, kernel.grants.granted]).toEqual([0, 1])
    mapper.kernel.grants.unmap(mapped)
    await hub.settle(1e9)
    expect([ended, kernel.grants.granted, mapper.kernel.grants.mappings]).toEqual([1, 0, 0])
  })

  test('grow frame by frame to the table\'s limit, and are OUT_OF_RESOURCES beyond it', async () => {
    const { domain } = await guest(4, { grantFrames: 2 })
    const { grants } = domain.kernel
    const frame = domain.frames[0]!
    const refs = new Set(Array.from({ length: 2 * 512 - 8 }, () => grants.grant(other, frame)))
    expect(refs.size).toBe(1016)
    expect(Math.min(...refs)).toBe(8)
    expect(Math.max(...refs)).toBe(1023)
    expect(code(() => grants.grant(other, frame))).toBe('OUT_OF_RESOURCES')
    expect(grants.end(500 as GrantRef)).toBe(true)
    expect(grants.grant(other, frame)).toBe(500)
  })

  test('of others can be mapped only by whom they were given to', async () => {
    const { hub, domain } = await guest()
    const stranger = hub.createDomain(3, () => undefined)
    await hub.settle()
    const ref = domain.kernel.grants.grant(other, domain.kernel.frames.allocate().frame)
    expect(code(() => stranger.kernel.grants.map(1 as DomId, ref))).toBe('HYPERCALL_FAILED')
    expect(code(() => stranger.kernel.grants.map(1 as DomId, 9999 as GrantRef))).toBe('HYPERCALL_FAILED')
    expect(code(() => domain.kernel.grants.end(77 as GrantRef))).toBe('INVALID_ARGUMENT')
  })
})

describe('the balloon', () => {
  test.each([
    [{ current: 100, target: 100, maximum: 200, free: 50 }, 0],
    [{ current: 100, target: 80, maximum: 200, free: 50 }, -20],
    [{ current: 100, target: 20, maximum: 200, free: 50 }, -50],
    [{ current: 100, target: 20, maximum: 200, free: 0 }, 0],
    [{ current: 100, target: 150, maximum: 200, free: 50 }, 50],
    [{ current: 100, target: 500, maximum: 200, free: 50 }, 100],
    [{ current: 100, target: 500, maximum: 90, free: 50 }, -10],
    [{ current: 10_000, target: 0, maximum: 10_000, free: 9_000 }, -512],
    [{ current: 0, target: 10_000, maximum: 10_000, free: 0 }, 512],
  ])('with %j moves by %i', (state, expected) => {
    expect(Math.abs(balloonStep(state)) === 0 ? 0 : balloonStep(state)).toBe(expected)
  })

  async function ballooned(pages: number, maxPages: number) {
    const hub = new FakeHypervisor()
    const store = new TestStore()
    const domain = hub.createDomain(1, () => undefined, { pages, maxPages, store: store.connect(1) })
    await hub.settle()
    const setTarget = async (kibibytes: string): Promise<number> => {
      store.seed({ '/local/domain/1/memory/target': kibibytes })
      await hub.settle(5e9)
      return domain.owned.size
    }
    return { hub, domain, setTarget }
  }

  test('follows memory/target both ways and stops at the domain\'s maximum', async () => {
    const { domain, setTarget } = await ballooned(2048, 2048)
    expect(await setTarget('4096')).toBe(1024)
    expect(domain.kernel.frames.total).toBe(1024)
    expect(await setTarget('6000')).toBe(1500)
    expect(await setTarget('999999')).toBe(2048)
    expect(new Set(domain.kernel.frames.p2m())).toEqual(domain.owned)
    for (const nonsense of ['', '-4', 'many', '1.5']) expect(await setTarget(nonsense)).toBe(2048)
  })

  test('keeps what the guest uses, and gives pages back as they are released', async () => {
    const { hub, domain, setTarget } = await ballooned(64, 64)
    const pages = Array.from({ length: 60 }, () => domain.kernel.frames.allocate())
    expect(await setTarget('80')).toBe(60)
    for (const page of pages.slice(0, 50)) domain.kernel.frames.release(page)
    await hub.settle()
    expect(domain.owned.size).toBe(20)
  })

  test('asks again, less and less often, while the host has too little memory', async () => {
    const { hub, domain, setTarget } = await ballooned(64, 128)
    const kept = hub.freeFrames.splice(0)
    domain.calls.clear()
    expect(await setTarget('512')).toBe(64)
    await hub.settle(600e9)
    expect(domain.calls.get('increaseReservation')!).toBeLessThan(30)
    hub.freeFrames.push(...kept)
    await hub.settle(40e9)
    expect(domain.owned.size).toBe(128)
  })
})

describe('shutdown requests', () => {
  async function running() {
    const hub = new FakeHypervisor()
    const store = new TestStore()
    const domain = hub.createDomain(1, () => undefined, { store: store.connect(1) })
    store.seed({ '/local/domain/1/control/shutdown': '' })
    await hub.settle()
    return { hub, store, domain }
  }

  test.each([['poweroff', 0], ['halt', 0], ['reboot', 1], ['suspend', 2]])('%s is acknowledged, then obeyed', async (word, reason) => {
    const { hub, store, domain } = await running()
    store.transcript.length = 0
    store.seed({ '/local/domain/1/control/shutdown': word })
    await hub.settle()
    expect(domain.shutdownReason).toBe(reason)
    expect(store.get('/local/domain/1/control/shutdown')).toBe('')
    expect(store.transcript.slice(0, 3)).toEqual([
      'dom1 TX_START', `dom1 READ control/shutdown = "${word}"`, 'dom1 WRITE control/shutdown = ""',
    ])
    expect(store.transcript).toContain('dom1 TX_END commit')
  })

  test('a guest says at boot what it can do, as Linux does', async () => {
    const { store } = await running()
    for (const feature of ['poweroff', 'reboot', 'suspend']) {
      expect(store.get(`/local/domain/1/control/feature-${feature}`)).toBe('1')
    }
  })

  test('hooks run before, the latest first; an unknown word does nothing', async () => {
    const { hub, store, domain } = await running()
    const order: string[] = []
    domain.kernel.control.beforeShutdown(async (reason) => {
      await domain.kernel.sleep(1000)
      order.push(`first ${reason}`)
    })
    domain.kernel.control.beforeShutdown((reason) => { order.push(`second ${reason}`) })
    for (const word of ['dance', 'constructor', '__proto__']) {
      store.seed({ '/local/domain/1/control/shutdown': word })
      await hub.settle(1e6)
      expect([order, domain.shutdownReason, store.get('/local/domain/1/control/shutdown')]).toEqual([[], undefined, word])
    }
    store.seed({ '/local/domain/1/control/shutdown': 'reboot' })
    await hub.settle(1e6)
    expect([order, domain.shutdownReason]).toEqual([['second reboot', 'first reboot'], 1])
  })
})
