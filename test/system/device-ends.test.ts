/**
 * Taking devices away whatever their halves are doing, and disks that change their size: judged by XenStore from outside,
 * which has to be as it was before the device came.
 */
import { describe, expect, test } from 'vitest'
import { BlockFrontend, MemoryBlockStore, type BlockStore } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestKernel, type GuestProgram } from '../../src/guest/index.ts'
import type { Domain, Host } from '../../src/toolstack/index.ts'
import { resourceSnapshot } from '../../src/testing/index.ts'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 64, dom0Memory: 8 })
const never = (): Promise<never> => new Promise(() => undefined)
const front = (kind: string): string => (kind === 'vbd' ? 'device/vbd/51712' : 'device/vif/0')
const writes = (state: string) => (kind: string): GuestProgram => async (kernel) => {
  const path = front(kind)
  await kernel.store!.watch(path, () => kernel.spawn(async () => {
    if (await kernel.store!.read(`${path}/state`).catch(() => state) !== state) await kernel.store!.write(`${path}/state`, state)
  }))
}
const removes = (kind: string): GuestProgram => async (kernel) => {
  await kernel.store!.watch(front(kind), () => kernel.spawn(() => kernel.store!.remove(front(kind)).catch(() => undefined)))
}
const idle = (): GuestProgram => () => undefined
const crashes = (): GuestProgram => (kernel) => { kernel.after(1e6, () => kernel.crash(new Error('on purpose'))) }

type Then = (domain: Domain) => void
type Row = [what: string, program: (kind: string) => GuestProgram, then: Then | undefined]
const ROWS: Row[] = ([
  ['never begins', idle],
  ['is closed from the start', writes('6')],
  ['says that it is closing, and stays so', writes('5')],
  ['claims to be connected, without a ring', writes('4')],
  ['claims to be initialised, without a ring', writes('3')],
  ['writes a state that there is none of', writes('77')],
  ['is removed by its own guest', removes],
  ['belongs to a guest that is paused', writes('4'), (domain) => domain.pause()],
  ['belongs to a guest that has crashed', crashes],
] as readonly [string, (kind: string) => GuestProgram, Then?][]).map(([what, program, then]): Row => [what, program, then])

describe.each(['vbd', 'vif'] as const)('a %s whose front-end', (kind) => {
  test.each(ROWS)('%s can be taken away, and leaves nothing', async (what, program, then) => {
    const host = await boot()
    const warm = await host.createDomain({ name: 'warm', memory: 4, kernel: idle(), nics: [''] })
    await warm.destroy()
    const domain = await host.createDomain({ name: 'it', memory: 4, kernel: program(kind), actions: { crash: 'preserve' } })
    // Once it runs, but before it has done anything about a device.
    const before = resourceSnapshot(host).storeNodes
    let open = 0
    const store = new MemoryBlockStore(1 << 16)
    store.close = () => { open -= 1 }
    if (kind === 'vbd') {
      open += 1
      await domain.attachDisk('/x,raw,xvda,w', { store })
    } else {
      await domain.attachNic()
    }
    await host.until('the guest to have had its say', () => host.now() > 1e9, { timeout: 1e9 }).catch(() => undefined)
    then?.(domain)
    const detach = (force: boolean): Promise<void> => (kind === 'vbd' ? domain.detachDisk('xvda', { force }) : domain.detachNic(0))
    // A disk that its guest keeps is kept, as by xl; force takes it.
    await detach(false).catch(async (error: { code: string }) => {
      expect([what, kind, error.code]).toEqual([what, 'vbd', 'TIMED_OUT'])
      expect(domain.devices().map(({ device }) => device)).toEqual([51712])
      expect(host.store.read(`/local/domain/0/backend/vbd/${domain.id}/51712/online`)).toBe('1')
      await detach(true)
    })
    await host.settled()
    expect([domain.devices(), open]).toEqual([[], 0])
    const isOwn = (path: string): boolean => /\/(device|backend|error)\b/.test(path) && !path.endsWith(`/device/suspend`)
    const wanted = before.filter(isOwn)
    const left = resourceSnapshot(host).storeNodes.filter(isOwn)
    expect(left.filter((path) => !wanted.includes(path))).toEqual([])
    expect(wanted.filter((path) => !left.includes(path))).toEqual([])
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})

describe('a device whose owner never answers', () => {
  const started = async (openDisk: () => BlockStore | Promise<BlockStore>): Promise<{ host: Host; domain: Domain; nodes: () => string[] }> => {
    const host = await boot({ openDisk })
    const domain = await host.createDomain({ name: 'it', memory: 4, kernel: diskUser })
    return { host, domain, nodes: () => [...resourceSnapshot(host).storeNodes].filter((path) => /vbd/.test(path)) }
  }

  test('because its opener hangs can be given up, and its store is closed when it comes after all', async () => {
    let answer: ((store: BlockStore) => void) | undefined
    const { host, domain, nodes } = await started(() => new Promise((resolve) => { answer = resolve }))
    const abort = new AbortController()
    const attaching = domain.attachDisk('/x,raw,xvda,w', { signal: abort.signal })
    await host.until('the opener to be asked', () => answer !== undefined, { timeout: 1e9 })
    abort.abort()
    await expect(attaching).rejects.toMatchObject({ code: 'ABORTED' })
    expect(nodes()).toEqual([])
    let closed = false
    const late = new MemoryBlockStore(512)
    late.close = () => { closed = true }
    answer!(late)
    await host.settled()
    expect(closed).toBe(true)
    await domain.destroy()
  })

  test('because its store hangs does not keep its domain from being destroyed', async () => {
    const store = new MemoryBlockStore(1 << 16)
    const hanging: BlockStore = {
      size: store.size, readOnly: false, read: (offset, target) => store.read(offset, target), write: never, flush: () => undefined,
      close: () => undefined,
    }
    const { host, domain } = await started(() => hanging)
    await domain.attachDisk('/x,raw,xvda,w')
    await domain.console.waitFor('sectors')
    await domain.console.write('write\n')
    for (let turns = 0; turns < 20; turns += 1) await new Promise((resolve) => setImmediate(resolve))
    await domain.destroy()
    expect(host.domains()).toEqual([])
    const next = await host.createDomain({ name: 'it', memory: 4, kernel: idle() })
    await next.destroy()
  })
})

/** Says how large its disk is whenever that changes, and reads or writes the last sector when told. */
async function diskUser(kernel: GuestKernel): Promise<void> {
  const disks = new BlockFrontend()
  await new FrontendBus(kernel).register(disks)
  const disk = await disks.disk(51712)
  const say = (): void => kernel.console!.log(`${disk.size / 512} sectors`)
  disk.onResize(say)
  say()
  for await (const line of kernel.console!.lines()) {
    const [command, sector = '0'] = line.split(' ')
    const work = command === 'write'
      ? disk.write(Number(sector), new Uint8Array(512).fill(7)).then(() => 'written')
      : disk.read(Number(sector), 1).then((bytes) => `byte ${bytes[0]}`)
    kernel.console!.log(await work.catch((error: { code: string }) => error.code))
  }
}

test('a disk that grows and shrinks is announced, and its new sectors are used', async () => {
  const host = await boot()
  const store = new MemoryBlockStore(64 * 512)
  const domain = await host.createDomain({ name: 'it', memory: 4, kernel: diskUser })
  await domain.attachDisk('/x,raw,xvda,w', { store })
  const ask = async (line: string, answer: string): Promise<void> => {
    await domain.console.write(`${line}\n`)
    await domain.console.waitFor(answer)
  }
  await domain.console.waitFor('64 sectors')
  await ask('read 64', 'INVALID_ARGUMENT')
  store.resize(128 * 512)
  await domain.console.waitFor('128 sectors')
  expect(host.store.read(`/local/domain/0/backend/vbd/${domain.id}/51712/sectors`)).toBe('128')
  await ask('write 127', 'written')
  expect(store.bytes[127 * 512]).toBe(7)
  await ask('read 127', 'byte 7')
  store.resize(32 * 512)
  await domain.console.waitFor('32 sectors')
  await ask('read 31', 'byte 0')
  await ask('read 32', 'INVALID_ARGUMENT')
  // A store that cannot tell is looked at with each request.
  const silent = new MemoryBlockStore(16 * 512)
  await domain.detachDisk('xvda')
  Object.assign(silent, { onResize: undefined })
  const other = await host.createDomain({ name: 'other', memory: 4, kernel: diskUser })
  await other.attachDisk('/x,raw,xvda,w', { store: silent })
  await other.console.waitFor('16 sectors')
  silent.resize(48 * 512)
  await other.console.write('read 0\n')
  await other.console.waitFor('48 sectors')
})
