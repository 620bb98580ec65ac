/** Channels: byte pipes by name between a guest and its host, as further consoles of the domain. */
import { connect } from 'node:net'
import { mkdtempSync, rmSync } from 'node:fs'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { connectHost, narrow, serveHost, transportPair, type Host, type XenError } from '../../src/index.ts'
import { ChannelBackend, ChannelFrontend } from '../../src/drivers/index.ts'
import { BackendBus, FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import { serveChannels } from '../../src/node/index.ts'
import { feedInputs, recordInputs } from '../../src/toolstack/host/feed-input.ts'
import type { InputRecord } from '../../src/toolstack/run/inputs.ts'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 48, dom0Memory: 8, idle: 'wait' })

/** Answers each line of its channel, and says so on its console. */
const agent: GuestProgram = async (kernel) => {
  const channels = new ChannelFrontend()
  await new FrontendBus(kernel).register(channels)
  const channel = await channels.channel('org.example.agent')
  channel.write('ready\n')
  for await (const line of channel.lines()) {
    channel.write(`you said ${line}\n`)
    kernel.console!.log(`heard ${line}`)
  }
}
const CHANNEL = 'connection=pty,name=org.example.agent'
const create = (host: Host) => host.createDomain({ name: 'web', memory: 4, kernel: agent, channels: [CHANNEL, { name: 'other' }] })

describe('a channel', () => {
  test('carries bytes both ways, apart from the console', async () => {
    const host = await boot()
    const domain = await create(host)
    const channel = domain.channel('org.example.agent')
    await channel.waitFor('ready')
    await channel.write('hello\n')
    await channel.waitFor(/^you said hello$/)
    expect(domain.channel(1)).toBe(channel)
    expect(domain.console.text()).toBe('heard hello\n')
    const counted = domain.devices().map(({ statistics }) => statistics)
    expect(counted).toEqual([{ bytesIn: 'ready\nyou said hello\n'.length, bytesOut: 'hello\n'.length }, { bytesIn: 0, bytesOut: 0 }])
    await expect(channel.waitFor('never', { timeout: '1ms' })).rejects.toThrow(/^the channel org.example.agent of domain 1 did not show in time "never"/)
    expect(() => domain.channel('none')).toThrow(expect.objectContaining({ code: 'DEVICE_NOT_FOUND' }) as Error)
    await domain.destroy()
    expect(channel.closed).toBe(true)
    await expect(channel.write('late')).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('stands in XenStore as libxl writes it', async () => {
    const host = await boot()
    await host.createDomain({ name: 'web', memory: 4, channels: ['connection=socket,name=a,path=/run/a', CHANNEL] })
    const { store } = host
    const read = (path: string, names: string): unknown => names.split(' ').map((name) => store.tryRead(`${path}/${name}`))
    const front = '/local/domain/1/device/console'
    expect(read(`${front}/1`, 'backend backend-id state protocol name limit type output tty')).toEqual(
      ['/local/domain/0/backend/console/1/1', '0', '1', 'vt100', 'a', '1048576', 'ioemu', 'chardev:libxl-channel0', ''])
    expect(read(`${front}/2`, 'name output')).toEqual(['org.example.agent', 'pty'])
    expect(read('/local/domain/0/backend/console/1/1', 'frontend frontend-id online state protocol name connection path')).toEqual(
      [`${front}/1`, '1', '1', '2', 'vt100', 'a', 'socket', '/run/a'])
    // Its guest changes neither its name nor where it leads.
    expect([store.getPermissions(`${front}/1/name`), store.getPermissions(`${front}/1/state`)]).toEqual([['n0', 'r1'], ['n1', 'r0']])
    expect(store.tryRead('/local/domain/0/backend/console/1/0/state')).toBe('1')
  })

  test('is attached and detached while the domain runs', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'web', memory: 4, kernel: agent })
    await domain.attachDevice('console', CHANNEL)
    await domain.channel('org.example.agent').waitFor('ready')
    expect(domain.devices()).toMatchObject([{ kind: 'console', device: 1, name: 'org.example.agent', backendStateName: 'Connected', facts: { connection: 'pty' } }])
    expect(domain.devices()[0]!.eventChannel).toBeGreaterThan(0)
    await expect(domain.attachDevice('console', CHANNEL)).rejects.toMatchObject({ code: 'DEVICE_EXISTS', details: { name: 'org.example.agent' } })
    await domain.detachDevice('console', 'org.example.agent')
    expect(domain.devices()).toEqual([])
  })

  test('is served by a driver domain, whose end it is', async () => {
    const host = await boot()
    let served: ChannelBackend | undefined
    await host.createDomain({ name: 'driver', memory: 4, kernel: async (kernel) => {
      await new BackendBus(kernel).register(served = new ChannelBackend())
      kernel.console!.log('serving')
    } }).then((driver) => driver.console.waitFor('serving'))
    const domain = await host.createDomain({ name: 'web', memory: 4, kernel: agent, channels: [`${CHANNEL},backend=driver`] })
    await host.until('the channel to be served', () => served!.stream(domain.id, 1)?.connected === true)
    await served!.stream(domain.id, 1)!.write('hello\n')
    await host.until('an answer', () => served!.stream(domain.id, 1)!.text().includes('you said hello'))
    await host.settled()
    expect(domain.devices()).toMatchObject([{ kind: 'console', backend: 1, backendStateName: 'Connected', frontendStateName: 'Connected' }])
    expect(() => domain.channel(1)).toThrow(expect.objectContaining({ code: 'NOT_SUPPORTED' }) as Error)
    await domain.detachDevice('console', 1)
    await host.settled()
    expect([domain.devices().length, served!.stream(domain.id, 1) === undefined]).toEqual([0, true])
  })

  test('goes on in a host that was brought back, and in one that was fed the same', async () => {
    const host = await boot()
    const records: InputRecord[] = []
    const stop = recordInputs(host, (record) => records.push(record))
    const domain = await host.createDomain({ name: 'web', memory: 8, channels: [CHANNEL] })
    await domain.console.waitFor('mini> ')
    // The guest has no driver for it: what is said waits, as long as the host lives.
    domain.channel('org.example.agent').write('waits').catch(() => undefined)
    const twin = await boot()
    await feedInputs(twin, records, { answered: (_record, answer) => void Promise.resolve(answer).catch(() => undefined) })
    stop()
    const ofDevices = async (of: Host): Promise<unknown> => Object.entries(await of.stateHash()).filter(([name]) => name.startsWith('devices.'))
    const was = await ofDevices(host)
    expect(JSON.stringify(was)).toContain('backend/console/1/1')
    expect(await ofDevices(twin)).toEqual(was)
    expect(records.at(-1)!.input).toMatchObject({ source: 'console', domid: 1, channel: 'org.example.agent' })
    const moment = await host.checkpoint()
    await domain.detachDevice('console', 1, { force: true })
    await host.reset(moment)
    expect(host.domain('web').channel('org.example.agent').closed).toBe(false)
    expect(await ofDevices(host)).toEqual(was)
  })

  test('is another process\'s, and somebody\'s who may only look', async () => {
    const host = await boot()
    const domain = await create(host)
    const { ends } = transportPair()
    serveHost(host, ends[0])
    const remote = await connectHost(ends[1])
    const far = await (await remote.domain('web')).channel('org.example.agent')
    await far.waitFor('ready')
    await far.write('there\n')
    await far.waitFor('you said there')
    await expect((await remote.domain('web')).channel('none')).rejects.toMatchObject({ code: 'DEVICE_NOT_FOUND' })
    const looked = narrow(host, { domain: domain.id, readOnly: true }).domain('web').channel('org.example.agent')
    expect(looked.text()).toContain('you said there')
    expect(() => looked.write('x')).toThrow(expect.objectContaining({ code: 'PERMISSION_DENIED' }) as Error)
  })

  test('leads to a Unix socket where its description says so', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'paravirt-channel-'))
    const host = await boot()
    const failed: string[] = []
    const sockets = serveChannels(host, { onFailed: ({ message }) => failed.push(message) })
    const path = join(folder, 'agent')
    const domain = await host.createDomain({ name: 'web', memory: 4, kernel: agent, channels: [{ name: 'org.example.agent', path }, { name: 'lost', path: join(folder, 'no', 'such') }] })
    await domain.channel('org.example.agent').waitFor('ready')
    expect(sockets.paths).toEqual([path])
    expect(failed).toEqual([expect.stringMatching(/^channel lost of domain 1: /)])
    const client = connect(path)
    await once(client, 'connect')
    client.write('by the socket\n')
    const [bytes] = await once(client, 'data') as [Uint8Array]
    expect(new TextDecoder().decode(bytes)).toBe('you said by the socket\n')
    const second = connect(path).on('error', () => undefined)
    await once(second, 'close')
    const gone = once(client, 'close')
    await domain.destroy()
    await gone
    expect(sockets.paths).toEqual([])
    await sockets.close()
    rmSync(folder, { recursive: true })
  })

  test('comes along when its domain is saved, and its socket only where the receiver says so', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'web', memory: 8, channels: ['connection=socket,name=a,path=/run/a'] })
    await domain.console.waitFor('mini> ')
    const pieces: Uint8Array[] = []
    await domain.save({ write: (bytes) => void pieces.push(bytes.slice()) })
    const saved = new Uint8Array(Buffer.concat(pieces))
    await expect(host.restore(saved)).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    const back = await host.restore(saved, { trust: { files: ['/run/a'] } })
    expect(back.config.channels).toEqual([{ name: 'a', connection: 'socket', path: '/run/a', backend: '0' }])
    expect(back.channel('a').closed).toBe(false)
  })
})

test('a description that says no channel is refused by what is wrong with it', async () => {
  const host = await boot()
  const refuse = (...channels: string[]): Promise<unknown> => host.createDomain({ name: 'web', memory: 4, channels }).then(() => 'taken', ({ code, message }: XenError) => (code === 'INVALID_CONFIG' ? message : code))
  for (const [specification, why] of [
    ['name=a', /it has no connection/], ['connection=tcp,name=a', /`tcp` is not a value for connection/], ['connection=pty', /it has no name/],
    ['connection=socket,name=a', /needs a path/], ['connection=pty,name=a,nam=b', /unknown parameter `nam`; did you mean `name=`/], ['pty', /no KEY=VALUE/],
    [`connection=pty,name=${'x'.repeat(300)}`, /more than 256 characters/], ['connection=pty,name=a\nb', /control characters/],
  ] as const) expect(await refuse(specification)).toMatch(why)
  expect(await refuse(CHANNEL, CHANNEL)).toBe('there are two channels called org.example.agent')
  expect(host.domains()).toEqual([])
})
