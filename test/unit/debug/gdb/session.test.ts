/** A debugger's requests, right ones and hostile ones, at a running guest: each is answered, and harms nobody. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { recordRun, serveGdb } from '../../../../src/debug/index.ts'
import { packet } from '../../../../src/debug/gdb/packets.ts'
import { packetRegistersOf, registersOf, targetDescription } from '../../../../src/debug/gdb/register-table.ts'
import { Host, type Domain } from '../../../../src/index.ts'
import { SeededRandom } from '../../../../src/util/index.ts'
import { GdbClient as Client } from '../../../support/gdb-client.ts'

let host: Host
let domain: Domain
beforeAll(async () => {
  host = await Host.boot({ memory: 64, dom0Memory: 16, idle: 'wait' })
  domain = await host.createDomain({ name: 'debugged', memory: 8 })
  await domain.console.waitFor('mini> ')
})
afterAll(() => host.shutdown())

describe('a session', () => {
  test('has the guest stand, tells of it, and lets it go on when the debugger goes away', async () => {
    const client = new Client()
    const { closed } = serveGdb(host, domain, client.transport)
    expect(domain.summary().state).toContain('p')
    expect(await client.ask('qSupported:swbreak+;hwbreak+')).toMatch(/PacketSize=4000;.*qXfer:features:read\+/)
    expect(await client.ask('QStartNoAckMode')).toBe('OK')
    expect(await client.ask('?')).toBe('T05thread:1;')
    expect(await client.ask('qfThreadInfo')).toBe('m1')
    const { user } = host.hypervisor.getVcpuContext(domain.id, 0)
    const all = await client.ask('g')
    const bits = packetRegistersOf({ width: 64, translated: false, hasAvx: true }).reduce((sum, one) => sum + one.bits, 0)
    expect(all).toHaveLength(bits / 4)
    expect(BigInt(`0x${all.slice(16 * 16, 17 * 16).match(/../g)!.reverse().join('')}`)).toBe(user.rip)
    expect(await client.ask(`m${user.rip.toString(16)},4`)).toMatch(/^[0-9a-f]{8}$/)
    client.end()
    await closed
    expect(domain.summary().state).not.toContain('p')
    await domain.console.write('echo on\n')
    await domain.console.waitFor(/^on$/)
  })

  test.each([['while the guest runs', (client: Client) => client.send(packet('c'))], ['in the middle of a packet', (client: Client) => client.send(packet('M1000,4:0000').subarray(0, 9))]])(
    'that goes away %s leaves it running', async (_when, last) => {
      const client = new Client()
      const { closed } = serveGdb(host, domain, client.transport)
      expect(await client.ask('?')).toBe('T05thread:1;')
      last(client)
      await new Promise((resolve) => setTimeout(resolve, 10))
      client.end()
      await closed
      expect(domain.summary().state).not.toContain('p')
      await domain.console.write('echo still here\n')
      await domain.console.waitFor(/^still here$/)
      expect(host.hypervisor.checkInvariants()).toEqual([])
    })

  test('sends an answer again where packets are acknowledged, and once where they are not', async () => {
    const client = new Client()
    const connection = serveGdb(host, domain, client.transport)
    expect(await client.ask('qC')).toBe('QC1')
    client.send(Uint8Array.of(0x2d))
    await client.ask('QStartNoAckMode')
    client.send(Uint8Array.of(0x2d, 0x2d))
    expect(await client.ask('qAttached')).toBe('1')
    expect(client.heard.filter((one) => one !== 'acknowledged')).toEqual(['QC1', 'QC1', 'OK', '1'])
    connection.close()
  })

  test.each<readonly [string, unknown]>([
    ['m8,4', 'E0e'], ['mffffffffffffffff,ffffffff', 'E0e'], ['m', 'E16'], ['mzz,4', 'E16'], ['M8,4:00000000', 'E0e'], ['M8,4:00', 'E16'], ['Mx', 'E16'], ['X8,1:', 'E16'],
    ['p99', 'E16'], ['p', 'E16'], ['P0=00', 'E16'], ['P99=00', 'E16'], ['G00', 'E16'], ['Gzz', 'E16'], ['H', 'E01'], ['Hg9', 'E01'], ['T9', 'E01'], ['T-1', 'OK'], ['Tx', 'E01'],
    ['qXfer:memory-map:read::0,ffff', expect.stringMatching(/^l<\?xml.*<\/memory-map>$/)], ['qXfer:auxv:read::0,10', 'E01'],
    ['Z0,', ''], ['Z9,0,1', ''], ['Z2,0,ffffffff', 'E16'], ['Z2,0,0', 'E16'], ['vCont', ''], ['vCont;', 'E16'], ['vCont;x', 'E16'], ['vCont;c:zz', 'E16'], ['vMustReplyEmpty', ''], ['bs', ''],
    ['qXfer:features:read:other.xml:0,10', 'E00'], ['qXfer:features:read:target.xml:z', 'E00'], ['qXfer:features:read:target.xml:fffff,10', 'l'], ['qRcmd,zz', 'E16'], ['', ''], ['\u0000', ''], ['!', ''],
  ])('answers %j with %j', async (request, answer) => {
    const client = new Client()
    const connection = serveGdb(host, domain, client.transport)
    expect(await client.ask(request)).toEqual(answer)
    connection.close()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('survives anything, and so does the guest', async () => {
    const random = new SeededRandom(11)
    const client = new Client()
    const connection = serveGdb(host, domain, client.transport)
    const words = ['m', 'p', 'Hg', 'Z0,', 'z0,', 'Z2,', 'z2,', 'vCont;t', 'qXfer:features:read:target.xml:', 'qRcmd,', 'T', 'x', ',', '1', 'ffffffff80000000', ':', ';']
    for (let i = 0; i < 400; i += 1) {
      const text = Array.from({ length: 1 + (random.next() % 5) }, () => words[random.next() % words.length]!).join('')
      const bytes = packet(text)
      if (random.next() % 4 === 0) bytes[random.next() % bytes.length] = random.next() % 256
      // Ctrl-C of a guest that stands is nothing.
      client.send(bytes.filter((byte) => byte !== 0x2d))
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
    connection.close()
    await domain.console.write('echo alive\n')
    await domain.console.waitFor(/^alive$/)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test.each([['D', 'acknowledged OK', true], ['vKill;1', 'acknowledged OK', false], ['k', 'acknowledged', false]])('%s ends it with one answer at most', async (request, answers, goesOn) => {
    const other = await host.createDomain({ name: 'other', memory: 8 })
    const client = new Client()
    const { closed } = serveGdb(host, other, client.transport)
    client.send(packet(request))
    await closed
    expect(client.heard.join(' ')).toBe(answers)
    if (!goesOn) await host.until('it is gone', () => !other.exists)
    else expect(other.summary().state).not.toContain('p')
    if (goesOn) await other.destroy()
  })

  test('is of one debugger at a time, and of a guest with registers', async () => {
    const connection = serveGdb(host, domain, new Client().transport)
    expect(() => serveGdb(host, domain, new Client().transport)).toThrow(expect.objectContaining({ code: 'BUSY' }))
    connection.close()
    serveGdb(host, domain, new Client().transport).close()
    const scripted = await host.createDomain({ name: 'scripted', memory: 4, kernel: async () => undefined })
    expect(() => serveGdb(host, scripted, new Client().transport)).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
    expect(() => serveGdb(host, 'none', new Client().transport)).toThrow(expect.objectContaining({ code: 'DOMAIN_NOT_FOUND' }))
    expect(() => serveGdb(host, domain, {} as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    expect(() => serveGdb({} as never, domain, new Client().transport)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

describe('registers', () => {
  test.each([[32, false], [64, false], [64, true]] as const)('of %i bits, translated %s, are written where they are read, each alone', (width, translated) => {
    const facts = { width, translated, hasAvx: true }
    // As of a guest that has switched AVX on.
    const context = { ...host.hypervisor.getVcpuContext(domain.id, 0), extended: new Uint8Array(16 + 832) }
    for (const one of registersOf(facts)) {
      const value = one.name === 'ftag' ? 0x3fffn : (1n << BigInt(Math.min(one.bits, /^[c-gs]s$/.test(one.name) || /^f[os]/.test(one.name) ? 16 : one.bits))) - 2n
      if (/^f(ctrl|stat|iseg|oseg|op)$/.test(one.name)) continue
      if (/^cr\d$/.test(one.name)) {
        expect([one.write(context, one.read(context)), one.write(context, value)]).toEqual([context, undefined])
        continue
      }
      const written = one.write(context, value)!
      expect([one.name, one.read(written)]).toEqual([one.name, value])
      for (const other of registersOf(facts)) if (other !== one) expect([other.name, other.read(written)]).toEqual([other.name, other.read(context)])
    }
    const gs = registersOf(facts).find(({ name }) => name === 'gs_base')
    const bases = [4, 0].map((flags) => gs?.read({ ...context, flags, gsBaseKernel: 1n, gsBaseUser: 2n }))
    expect(bases).toEqual(width === 32 ? [undefined, undefined] : translated ? [2n, 2n] : [1n, 2n])
    expect(targetDescription(facts)).toMatch(/^<\?xml.*<\/target>$/)
  })
})

test('physical memory is shown by the addresses of page tables, and nothing of others', async () => {
  const client = new Client()
  const connection = serveGdb(host, domain, client.transport)
  const say = async (command: string): Promise<string> => Buffer.from(await client.ask(`qRcmd,${Buffer.from(command).toString('hex')}`), 'hex').toString().trim()
  const { user: { rip } } = host.hypervisor.getVcpuContext(domain.id, 0)
  const { frame, offset } = host.hypervisor.translate(domain.id, rip)!
  const code = (await client.ask(`m${rip.toString(16)},4`)).match(/../g)!.join(' ')
  expect(await say(`physical 0x${(frame * 4096 + offset).toString(16)} 4`)).toBe(`0x${(frame * 4096 + offset).toString(16)}: ${code}`)
  const [others] = [...host.hypervisor.domainFrames(0 as never)]
  for (const address of [`0x${(others! * 4096).toString(16)}`, '0', '999999999999999']) expect(await say(`physical ${address}`)).toMatch(/^0x[0-9a-f]+ is not the domain's$/)
  for (const wrong of ['physical', 'physical x', 'physical 0 x']) expect(await say(wrong)).toBe('physical wants an address, and how many bytes')
  connection.close()
})

describe('the end of a domain', () => {
  test('ends its session', async () => {
    const client = new Client()
    serveGdb(host, domain, client.transport)
    const asked = client.ask('c')
    await domain.console.write('poweroff\n')
    expect(await asked).toBe('W00')
  })
})

/** A request of each packet that the documentation names; null for one that is heard and not answered, or ends the session. */
const REQUESTS: Readonly<Record<string, string | null>> = {
  '?': '?', g: 'g', G: 'G00', p: 'p0', P: 'P0=00', m: 'm8,4', M: 'M8,1:00', X: 'X8,1:', c: null, C: null, s: null, S: null, H: 'Hg1', T: 'T1', D: null, k: null,
  vCont: 'vCont?', r: 'vCont?', t: 'vCont?', vKill: 'vKill;63', vMustReplyEmpty: null, Z0: 'Z0,0,1', Z1: 'Z1,0,1', Z2: 'Z2,0,1', Z3: 'Z3,0,1', Z4: 'Z4,0,1', z: 'z0,0,1',
  qSupported: 'qSupported', QStartNoAckMode: 'QStartNoAckMode', qC: 'qC', qAttached: 'qAttached', qfThreadInfo: 'qfThreadInfo', qsThreadInfo: 'qsThreadInfo',
  qThreadExtraInfo: 'qThreadExtraInfo,1', qSymbol: 'qSymbol::', 'qXfer:features:read': 'qXfer:features:read:target.xml:0,10', 'qXfer:threads:read': 'qXfer:threads:read::0,10', 'qXfer:memory-map:read': 'qXfer:memory-map:read::0,10', 'qXfer:auxv:read': 'qXfer:auxv:read::0,10',
  qRcmd: 'qRcmd,6e6f77', bs: 'bs', bc: 'bc', 'multiprocess+': 'Hgp1.1', '!': '!', vAttach: 'vAttach;1', vRun: 'vRun;', vFile: 'vFile:setfs:0', QTinit: 'QTinit',
}

test('the documentation lists the packets that there are, and those that are not', async () => {
  const table = readFileSync(new URL('../../../../docs/debugging.md', import.meta.url), 'utf8').split('## Packets')[1]!.split('\n## ')[0]!.split('\n').filter((line) => line.startsWith('| `'))
  const own = await Host.boot({ memory: 48, dom0Memory: 16, idle: 'wait' })
  const guest = await own.createDomain({ name: 'asked', memory: 8 })
  await guest.console.waitFor('mini> ')
  const run = await recordRun(own)
  for (const line of table) {
    const isThere = !line.includes('not there')
    for (const [, name = ''] of line.split('|')[1]!.matchAll(/`([^`]+)`/g)) {
      const request = REQUESTS[name]
      expect(request, `a request of ${name}`).not.toBeUndefined()
      if (request === null || request === undefined) continue
      const client = new Client()
      const connection = serveGdb(own, guest, client.transport, { run })
      await client.ask('qSupported:multiprocess+')
      expect(`${name}: ${await client.ask(request) === '' ? 'not there' : 'there'}`).toBe(`${name}: ${isThere ? 'there' : 'not there'}`)
      connection.close()
      await connection.closed
    }
  }
  await run.end()
  await own.shutdown()
})
