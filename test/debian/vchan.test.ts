/**
 * Vchans judged by Xen's own library, libxenvchan of Debian's libxenmisc4.17, in Debian's Linux: a guest in TypeScript is its server and its client, packets and
 * streams, and two Linux guests talk to each other over our hypervisor and XenStore, also by Debian's own vchan-socket-proxy.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openVchanClient, openVchanServer, type Vchan } from '../../src/drivers/index.ts'
import type { GuestKernel } from '../../src/guest/index.ts'
import type { Domain, Host } from '../../src/index.ts'
import { XenError } from '../../src/util/index.ts'
import { whyMissing } from '../support/guests.ts'
import { bootLinuxHost, type LinuxGuest } from '../support/linux.ts'
import { createVchanLinux, vchanPath, whyNoVchanLibrary } from '../support/linux-vchan.ts'

const missing = whyMissing('linux', 'linuxModules', 'busybox', 'dom0Tools', 'programs', 'xl') ?? whyNoVchanLibrary()
const BOOT = 600_000

/** Bytes as vchan-peer makes them, and its hash of them. */
const pattern = (length: number): Uint8Array => Uint8Array.from({ length }, (_, at) => (at * 31 + (at >> 8)) & 0xff)
const hashOf = (bytes: Uint8Array): string => bytes.reduce((hash, byte) => Math.imul(hash ^ byte, 16777619) >>> 0, 2166136261).toString(16).padStart(8, '0')
const word = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer)

describe.skipIf(missing !== undefined)(`Xen's own vchan library in Debian's Linux${missing ?? ''}`, { timeout: BOOT }, () => {
  let host: Host
  let linux: LinuxGuest
  let other: LinuxGuest
  let guest: Domain
  let kernel: GuestKernel
  beforeAll(async () => {
    host = await bootLinuxHost()
    linux = await createVchanLinux(host, 'linux')
    other = await createVchanLinux(host, 'other', 'pvh')
    guest = await host.createDomain({ name: 'guest', memory: 8, kernel: (own) => { kernel = own } })
    await host.settled()
  }, BOOT)
  afterAll(() => host?.shutdown())

  /** Starts the program beside the shell; `said` has what it printed, once it has come to its end. */
  const start = async (shell: LinuxGuest, role: 'server' | 'client', args: string): Promise<{ said(): Promise<string> }> => {
    await shell.run(`rm -f /tmp/out /tmp/done; (vchan-peer ${role} ${args} >/tmp/out 2>&1; touch /tmp/done) >/dev/null 2>&1 & true`)
    return { said: () => shell.run('for i in $(seq 600); do test -f /tmp/done && break; sleep 0.05; done; cat /tmp/out') }
  }
  /** Something that our guest does: in its own kernel, with the host running meanwhile. */
  const within = async <T>(work: () => Promise<T>): Promise<T> => {
    let result: { readonly value: T } | { readonly error: unknown } | undefined
    kernel.post(() => kernel.spawn(async () => {
      try { result = { value: await work() } } catch (error) { result = { error } }
    }))
    await host.until('our guest to be done', () => result !== undefined)
    if ('error' in result!) throw result.error
    return result!.value
  }
  /** Connects as soon as the server is there. */
  const connect = async (server: Domain, name: string): Promise<Vchan> => {
    for (;;) {
      try {
        return await openVchanClient(kernel, { server: server.id, path: vchanPath(server, name) })
      } catch (error) {
        if (!XenError.is(error, 'XENSTORE')) throw error
        await kernel.sleep('20ms')
      }
    }
  }
  /** Has packets of many sizes sent back. */
  const bounce = async (vchan: Vchan): Promise<number> => {
    let bytes = 0
    for (const length of [1, 2, 3, 64, 511, 512, 1000, vchan.sizes.send, 7, Math.min(vchan.sizes.send, vchan.sizes.receive), 1]) {
      const packet = pattern(Math.min(length, vchan.sizes.receive))
      await vchan.send(word(packet.length))
      await vchan.send(packet)
      const [head] = new Uint32Array((await vchan.receive(4)).buffer)
      expect(head).toBe(packet.length)
      expect(Buffer.compare(await vchan.receive(head!), packet)).toBe(0)
      bytes += packet.length
    }
    return bytes
  }
  const SIZES = [[0, 0], [2048, 1024], [2048, 70000], [20000, 20000], [1 << 20, 1 << 20]] as const

  test.each(SIZES)('is our client\'s server, with rings of %i and %i bytes: packets come back, and its end is told of ours', async (receive, send) => {
    const peer = await start(linux, 'server', `${guest.id} data/vchan/echo echo 0 ${receive} ${send}`)
    const [bytes, sizes] = await within(async () => {
      const vchan = await connect(linux.domain, 'echo')
      const sent = await bounce(vchan)
      await vchan.close()
      return [sent, vchan.sizes] as const
    })
    expect([sizes.send >= receive, sizes.receive >= send]).toEqual([true, true])
    expect(await peer.said()).toMatch(new RegExp(`^opened: 2\\necho: ${bytes} bytes, hash [0-9a-f]{8}, open 0$`))
    expect(host.store.exists(vchanPath(linux.domain, 'echo'))).toBe(false)
  })

  test.each(SIZES)('is our server\'s client, with rings of %i and %i bytes', async (receive, send) => {
    const peer = await start(linux, 'client', `${guest.id} ${vchanPath(guest, 'echo')} echo`)
    const bytes = await within(async () => {
      const vchan = await openVchanServer(kernel, { client: linux.domain.id, path: 'data/vchan/echo', receive: receive || undefined, send: send || undefined })
      const sent = await bounce(vchan)
      await vchan.close()
      return sent
    })
    expect(await peer.said()).toMatch(new RegExp(`^opened: 1\\necho: ${bytes} bytes, hash [0-9a-f]{8}, open 0$`))
  })

  test.each(['server', 'client'] as const)('as a %s sends a stream that we read, reads one that we write, and polls without blocking', async (role) => {
    const COUNT = 200_000
    const open = (name: string): Promise<Vchan> => (role === 'server' ? connect(linux.domain, name) : openVchanServer(kernel, { client: linux.domain.id, path: `data/vchan/${name}`, receive: 8192 }))
    const args = (name: string): string => (role === 'server' ? `${guest.id} data/vchan/${name}` : `${guest.id} ${vchanPath(guest, name)}`)
    const expected = pattern(COUNT)

    const sender = await start(linux, role, `${args('send')} send ${COUNT}`)
    const got = await within(async () => {
      const vchan = await open('send')
      const pieces: Uint8Array[] = []
      for (let length = 0; length < COUNT;) {
        const piece = await vchan.read(3000)
        pieces.push(piece)
        length += piece.length
      }
      await vchan.close()
      return Buffer.concat(pieces)
    })
    expect(Buffer.compare(got, expected)).toBe(0)
    expect(await sender.said()).toContain(`send: ${COUNT} bytes, hash ${hashOf(expected)}, open 0`)

    const receiver = await start(linux, role, `${args('receive')} receive ${COUNT}`)
    const state = await within(async () => {
      const vchan = await open('receive')
      await vchan.write(expected)
      // It closes when it has all: that is its answer.
      const end = await vchan.read().catch((error: unknown) => (XenError.is(error) ? error.code : error))
      await vchan.close()
      return end
    })
    expect([state, await receiver.said()]).toEqual(['CLOSED', expect.stringContaining(`receive: ${COUNT} bytes, hash ${hashOf(expected)}`)])

    const poller = await start(linux, role, `${args('poll')} poll ${COUNT}`)
    const back = await within(async () => {
      const vchan = await open('poll')
      const writing = vchan.write(expected)
      const pieces: Uint8Array[] = []
      for (let length = 0; length < COUNT;) {
        const piece = await vchan.read()
        pieces.push(piece)
        length += piece.length
      }
      await writing
      await vchan.close()
      return Buffer.concat(pieces)
    })
    expect(Buffer.compare(back, expected)).toBe(0)
    expect(await poller.said()).toContain(`poll: ${COUNT} bytes, hash ${hashOf(expected)}`)
  })

  test.each(['server', 'client'] as const)('that is killed as a %s leaves our end closed, and nothing mapped or granted', async (role) => {
    const before = [kernel.grants.granted, kernel.grants.mappings, kernel.events.open]
    const args = role === 'server' ? `${guest.id} data/vchan/hold hold` : `${guest.id} ${vchanPath(guest, 'hold')} hold`
    const opening = role === 'server' ? undefined : within(() => openVchanServer(kernel, { client: linux.domain.id, path: 'data/vchan/hold' }))
    await linux.run(`vchan-peer ${role} ${args} >/tmp/out 2>&1 & echo $! >/tmp/pid`)
    const vchan = await (opening ?? within(() => connect(linux.domain, 'hold')))
    await host.until('both to be there', () => vchan.state === 'open')
    let end: unknown
    kernel.post(() => kernel.spawn(async () => { end = await vchan.read().catch((error: unknown) => (XenError.is(error) ? error.code : error)) }))
    await linux.run('kill -9 $(cat /tmp/pid)')
    await host.until('our end to see it', () => end !== undefined)
    expect([end, vchan.state]).toEqual(['CLOSED', 'closed'])
    await within(() => vchan.close())
    await host.until('the grants to be ours again', () => kernel.grants.granted === before[0])
    expect([kernel.grants.granted, kernel.grants.mappings, kernel.events.open]).toEqual(before)
    await linux.run('rm -f /tmp/pid')
    // The library removes its nodes where it closes, not where its process is killed.
    host.store.tryRm(vchanPath(linux.domain, 'hold'))
  })

  test('talks to itself in another Linux, a PVH guest: a stream, packets, and its end', async () => {
    const COUNT = 150_000
    const path = vchanPath(linux.domain, 'twins')
    const sender = await start(linux, 'server', `${other.domain.id} data/vchan/twins send ${COUNT} 4096 65536`)
    const receiver = await start(other, 'client', `${linux.domain.id} ${path} receive ${COUNT}`)
    const hash = hashOf(pattern(COUNT))
    expect(await receiver.said()).toMatch(new RegExp(`^opened: 1\\nreceive: ${COUNT} bytes, hash ${hash}, open [01]$`))
    expect(await sender.said()).toMatch(new RegExp(`^opened: 2\\nsend: ${COUNT} bytes, hash ${hash}, open 0$`))
    expect(host.store.exists(path)).toBe(false)
  })

  test('carries files between two Linux guests, and between one and ours, by Debian\'s vchan-socket-proxy', async () => {
    const path = vchanPath(linux.domain, 'proxy')
    await linux.run('dd if=/dev/urandom of=/tmp/file bs=1k count=90 2>/dev/null')
    await linux.run(`(cat /tmp/file; sleep 30) | vchan-socket-proxy -m server ${other.domain.id} data/vchan/proxy - >/tmp/answer 2>/tmp/err & true`)
    const got = await other.run(`(echo thanks; sleep 20) | vchan-socket-proxy -m client ${linux.domain.id} ${path} - 2>/tmp/err | head -c 92160 | md5sum; head -c 300 /tmp/err`)
    expect(got).toBe(await linux.run('md5sum </tmp/file'))
    expect(await linux.run('cat /tmp/answer')).toBe('thanks')
    const peer = linux.run(`echo "hello from linux" | vchan-socket-proxy -m client ${guest.id} ${vchanPath(guest, 'proxy')} - 2>/tmp/err; head -c 300 /tmp/err`)
    const said = within(async () => {
      const vchan = await openVchanServer(kernel, { client: linux.domain.id, path: 'data/vchan/proxy' })
      const first = new TextDecoder().decode(await vchan.receive(17))
      await vchan.close()
      return first
    })
    expect(await said).toBe('hello from linux\n')
    await peer
  })

  test('leaves a host whose rules all hold, and a kernel that complains of nothing', async () => {
    // What the last process has let go of is looked at each 100 ms.
    await host.until('the grants to be ours again', () => kernel.grants.granted === 0)
    expect([host.hypervisor.checkInvariants(), kernel.grants.granted, kernel.grants.mappings]).toEqual([[], 0, 0])
    for (const shell of [linux, other]) expect(await shell.run("dmesg | sed 's/^.[^]]*. //' | grep -E 'WARNING|Oops|BUG:|Call Trace' || true")).toBe('')
  })
})
