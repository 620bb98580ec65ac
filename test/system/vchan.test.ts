/** Vchans between guests of a host: what becomes of one when its host is brought back or branched, and when the domain of either end is saved, moved, or destroyed. */
import { describe, expect, test } from 'vitest'
import { attachVchan, openVchanClient, openVchanServer, type Vchan, type VchanState } from '../../src/drivers/index.ts'
import type { GuestKernel, GuestProgram } from '../../src/guest/index.ts'
import { XenError, type Domain, type Host } from '../../src/index.ts'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 64, dom0Memory: 8 })
// A permission is for a domain that is there: one that is made later with the same number has nothing of it.
const [CLIENT, SERVER] = [1, 2]
const PATH = 'data/vchan/talk'
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

interface Said {
  readonly heard: string
  readonly vchan: VchanState | undefined
}

/** A guest with an end of a vchan: it logs what it hears, and says what is typed at its console. All that it has comes along with its host. */
class Talker {
  private readonly kernel: GuestKernel
  private readonly open: (options: { readonly kept: true; readonly onEvent: () => void }) => Promise<Vchan>
  private vchan: Vchan | undefined
  private heard = ''

  constructor(kernel: GuestKernel, open: Talker['open']) {
    this.kernel = kernel
    this.open = open
    kernel.control.saveState((): Said => ({ heard: this.heard, vchan: this.vchan?.state === 'closed' ? undefined : this.vchan?.save() }))
    kernel.console!.onInput((bytes) => this.say(bytes))
    const said = kernel.restoredState as Said | undefined
    this.heard = said?.heard ?? ''
    if (kernel.isLoaded && said?.vchan !== undefined) this.vchan = attachVchan(kernel, said.vchan, { onEvent: this.onEvent })
    else if (!kernel.isLoaded) kernel.spawn(() => this.begin())
  }

  private say(bytes: Uint8Array): void {
    if (this.vchan?.state === 'closed') this.kernel.console!.log('the other end is gone')
    else this.vchan?.tryWrite(bytes)
  }

  private async begin(): Promise<void> {
    this.vchan = await this.open({ kept: true, onEvent: this.onEvent })
    this.kernel.console!.log(`${this.vchan.role} is ${this.vchan.state}`)
    this.onEvent()
  }

  private readonly onEvent = (): void => {
    const { vchan, kernel: { console } } = this
    if (vchan === undefined) return
    if (vchan.ready > 0) this.heard += text(vchan.tryRead())
    console!.log(`heard ${this.heard}`)
    if (vchan.state === 'closed') {
      console!.log('the other end is gone')
      void vchan.close()
    }
  }
}

const server: GuestProgram = (kernel) => void new Talker(kernel, (options) => openVchanServer(kernel, { client: CLIENT, path: PATH, receive: 5000, ...options }))
const client: GuestProgram = (kernel) => void new Talker(kernel, async (options) => {
  for (;;) {
    try {
      return await openVchanClient(kernel, { server: SERVER, path: `/local/domain/${SERVER}/${PATH}`, ...options })
    } catch (error) {
      if (!XenError.is(error, 'XENSTORE')) throw error
      await kernel.sleep('10ms')
    }
  }
})

async function talk(): Promise<{ readonly host: Host; readonly ends: readonly [Domain, Domain] }> {
  const host = await boot()
  const connected = await host.createDomain({ name: 'client', memory: 4, kernel: client })
  const serving = await host.createDomain({ name: 'server', memory: 4, kernel: server })
  await connected.console.waitFor('client is open')
  await connected.console.write('one ')
  await serving.console.waitFor('heard one ')
  await serving.console.write('two ')
  await connected.console.waitFor('heard two ')
  await host.settled()
  return { host, ends: [serving, connected] }
}

describe('an open vchan', () => {
  test('comes along where its host is brought back and branched: both ends go on, and nothing is heard twice', async () => {
    const { host } = await talk()
    const moment = await host.checkpoint()
    const was = await host.stateHash()
    const goOn = async (on: Host, word: string): Promise<void> => {
      const [serving, connected] = [on.domain('server'), on.domain('client')]
      await connected.console.write(word)
      await serving.console.waitFor(`heard one ${word}`)
      await serving.console.write(word)
      await connected.console.waitFor(`heard two ${word}`)
      await on.settled()
      expect(on.hypervisor.checkInvariants()).toEqual([])
    }
    await goOn(host, 'three')
    await host.reset(moment)
    expect(await host.stateHash()).toEqual(was)
    await goOn(host, 'four')
    const branch = await moment.branch()
    expect(await branch.stateHash()).toEqual(was)
    await goOn(branch, 'five')
    await branch.shutdown()
    await moment.dispose()
  })

  test('comes along with bytes that nobody has read', async () => {
    const host = await boot()
    const quiet: GuestProgram = (kernel) => {
      let vchan: Vchan | undefined
      kernel.control.saveState(() => ({ vchan: vchan?.save() }))
      kernel.console!.onInput(() => kernel.console!.log(`got ${text(vchan!.tryRead())}`))
      if (kernel.isLoaded) vchan = attachVchan(kernel, (kernel.restoredState as { vchan: VchanState }).vchan)
      else kernel.spawn(async () => { vchan = await openVchanServer(kernel, { client: CLIENT, path: PATH, kept: true }) })
    }
    const writer = await host.createDomain({ name: 'client', memory: 4, kernel: client })
    const reader = await host.createDomain({ name: 'server', memory: 4, kernel: quiet })
    await writer.console.waitFor('client is open')
    await writer.console.write('unread')
    await host.settled()
    const moment = await host.checkpoint()
    await reader.console.write('x')
    await reader.console.waitFor('got unread')
    const branch = await moment.branch()
    await branch.domain('server').console.write('x')
    await branch.domain('server').console.waitFor('got unread')
    await branch.shutdown()
    await moment.dispose()
  })

  test('of code that would not take it up keeps its host from being saved, by name', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'server', memory: 4, kernel: async (kernel) => {
      kernel.control.saveState(() => ({}))
      await openVchanServer(kernel, { client: CLIENT, path: PATH })
      kernel.console!.log('open')
    } })
    await domain.console.waitFor('open')
    await expect(host.checkpoint()).rejects.toMatchObject({ message: expect.stringMatching(/port \d+ of code that cannot be saved/) as string })
  })

  test('stays behind where the domain of its server is saved: the client is told, and the server opens a new one where it is restored', async () => {
    const { host, ends: [serving, connected] } = await talk()
    const pieces: Uint8Array[] = []
    await serving.save({ write: (bytes) => void pieces.push(bytes.slice()) })
    await connected.console.waitFor('the other end is gone')
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
    const target = await boot({ seed: 2 })
    const next = await target.createDomain({ name: 'next', memory: 4, kernel: client })
    const restored = await target.restore(new Uint8Array(Buffer.concat(pieces)), { kernel: server })
    await next.console.waitFor('client is open')
    await next.console.write('again ')
    await restored.console.waitFor('heard one again ')
    expect(target.hypervisor.checkInvariants()).toEqual([])
  })

  test('stays behind where the domain of its client is saved: the server finds nothing mapped any more', async () => {
    const { host, ends: [serving, connected] } = await talk()
    await connected.save({ write: () => undefined })
    // Nobody tells it: it looks when it has something to say, or while somebody waits.
    await serving.console.write('anybody?')
    await serving.console.waitFor('the other end is gone')
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('goes on where the domain of either end is saved and goes on here', async () => {
    const { host, ends: [serving, connected] } = await talk()
    for (const domain of [serving, connected]) await domain.save({ write: () => undefined }, { afterwards: 'resume' })
    await connected.console.write('three ')
    await serving.console.waitFor('heard one three ')
    await serving.console.write('four ')
    await connected.console.waitFor('heard two four ')
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('ends with the domain of its server, which its client is told of by XenStore', async () => {
    const { host, ends: [serving, connected] } = await talk()
    await serving.destroy()
    await connected.console.waitFor('the other end is gone')
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
    await connected.destroy()
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})
