/**
 * Every public call with every argument of a wrong type or out of range, on handles that are gone, and on a host that was shut down:
 * a XenError with a code and facts each time. The calls, their parameters and what is wrong for each come from the types of the
 * package's entry point, so that a new call cannot be forgotten.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as paravirt from '../../src/index.ts'
import { Catalogue, Host, MemoryFiles, UnpackedKernels, transportPair, type Domain, type Moment } from '../../src/index.ts'
import { DOMAIN_CALLS } from '../../src/toolstack/run/activities.ts'
import type { HypercallPort } from '../../src/abi/index.ts'
import { XenError } from '../../src/util/index.ts'
import { publicSurface, type SurfaceCall } from '../support/public-surface.ts'

/** Whose calls are for other uses: code within a guest, and arithmetic in whose loops nothing is checked. */
const APART = new Set(['GuestKernel', 'Bitmap', 'ManualClock', 'SeededRandom', 'XenError', 'part'])
/** Calls that answer whatever they are asked about. */
const TAKEN = /^Moment\.isOf\(|^ControlInterface\.hasDomain\(|^Host\.symbolAt\(address = -1|^Screen\.(press\(keys = 7|point\(options = \{ wheel: -1)|^static Host\.boot\(options = \{ timeZoneOffset: -1/
/** Calls that answer on any handle and host, gone or not: they look at what the handle itself knows. */
const ALWAYS = /^(Domain\.(toJSON|devices)|Host\.(toJSON|now|domains|listDomains|capabilities|shutdown|settled|expectInput|profile|claims)|DomainConsole\.(text|history|output)|Moment\.(isOf|dispose|toJSON|hashes|tree|differences|save|branch|prepare)|CpuPools?\.)/

let host: Host
let domain: Domain
let moment: Moment<Host>
let surface: readonly SurfaceCall[]

/** An argument that is right, by the parameter's name, or by call and name. */
const SAMPLES: Readonly<Record<string, () => unknown>> = {
  reference: () => 'one', operation: () => 'pauseDomain', mebibytes: () => 8, amount: () => 8, count: () => 1, vcpu: () => 0, affinity: () => ({ hard: [0] }), name: () => 'other', letter: () => 'h',
  parameters: () => ({ weight: 256 }), values: () => ({}), pool: () => 'Pool-0', trigger: () => 'nmi', target: () => ({ write: () => undefined }),
  transport: () => transportPair().ends[0], hooks: () => ({}), disk: () => ({ target: 'a', vdev: 'xvdb' }), nic: () => 0, kind: () => 'vbd',
  description: () => ({ target: 'a', vdev: 'xvdb' }), vdev: () => 'xvda', data: () => 'x', wanted: () => 'never', patterns: () => ['never'], config: () => ({ name: 'x', memory: 4 }),
  source: () => new Uint8Array(10), what: () => 'something', met: () => () => true, moment: () => moment, other: () => moment, keeper: () => host,
  grubConf: () => 'title x', input: () => new Uint8Array(10), cpus: () => [0], text: () => 'name = "x"', domains: () => [], profiles: () => [], first: () => [], second: () => [], address: () => 0, rate: () => '1Mb/s', state: () => 'up', limits: () => ({}), host: () => host, autostart: () => true,
  'Domain.setDiskLimits disk': () => 'xvda', 'Domain.insertMedium disk': () => 'hdc', 'Domain.insertMedium target': () => 'cd', 'Domain.ejectMedium disk': () => 'hdc',
  'Domain.resizeDisk disk': () => 'xvda', bytes: () => 512,
  inputs: () => [], x: () => 0, y: () => 0, path: () => 'file', file: () => new Uint8Array(1), decompress: () => () => new Uint8Array(1), duration: () => 1, value: () => 1, handle: () => domain, narrowing: () => ({}), port: () => new MessageChannel().port1, statistics: () => host.statistics(), keys: () => 'q',
  domid: () => domain.id, reason: () => 0, seconds: () => 0, pages: () => 0, frame: () => 1, frames: () => new Uint32Array(0), pfn: () => 0, level: () => 1,
  gfn: () => 0, firstGfn: () => 0, index: () => 0, virq: () => 0, ref: () => 1, id: () => 0, cpu: () => 0, from: () => new Uint8Array(0), into: () => new Uint8Array(0),
  'Domain.detachDevice name': () => 'xvda', 'Domain.attachNic nic': () => '', 'parseGrubConf text': () => 'title x\nkernel /xen.gz\n',
}
const sample = (call: SurfaceCall, name: string): unknown => {
  const make = SAMPLES[`${call.name} ${name}`] ?? SAMPLES[name]
  if (make === undefined) throw new Error(`${call.name}: give a sample of ${name}`)
  return make()
}

const SUBJECTS: Readonly<Record<string, () => unknown>> = {
  Host: () => host, Domain: () => domain, DomainConsole: () => domain.console, Moment: () => moment, MemoryFiles: () => new MemoryFiles(),
  ControlInterface: () => host.hypervisor, UnpackedKernels: () => new UnpackedKernels(1), Catalogue: () => new Catalogue(), CpuPools: () => host.cpupools, CpuPool: () => host.cpupools.find('Pool-0'), Screen: () => domain.screen(),
}
const subjectOf = ({ owner, isStatic }: SurfaceCall): unknown => {
  if (owner === undefined) return paravirt
  if (isStatic) return paravirt[owner as 'Host']
  return SUBJECTS[owner]?.()
}

/** What a call comes to: the code of its XenError, or what else. */
async function outcome(call: SurfaceCall, args: readonly unknown[], patience = 150): Promise<{ readonly code?: string; readonly details?: object; readonly else?: string }> {
  const abort = new AbortController()
  const isLong = call.parameters.at(-1)?.name === 'options' && args.length === call.parameters.length - 1 && /^(Operation|Promise)/.test(call.returns) && !call.isStatic
    && call.parameters.at(-1)!.wrong.some(({ what }) => what.startsWith('{ signal:'))
  const given = isLong ? [...args, { signal: abort.signal }] : args
  const subject = subjectOf(call) as Readonly<Record<string, (...args: unknown[]) => unknown>> | undefined
  if (subject === undefined) return { else: 'nobody to be called: say in this test who' }
  try {
    const pending = Promise.resolve(subject[call.method]!(...given))
    const late = new Promise((resolve) => setTimeout(resolve, patience, outcome))
    const value = await Promise.race([pending, late])
    abort.abort()
    if (isLong) await pending.catch(() => undefined)
    else pending.catch(() => undefined)
    return { else: value === outcome ? 'nothing, for long' : `a ${typeof value}` }
  } catch (error) {
    return XenError.is(error) ? { code: error.code, details: error.details } : { else: String(error) }
  }
}

beforeAll(async () => {
  surface = publicSurface().filter(({ owner, name }) => !APART.has(owner ?? name))
  host = await Host.boot({ memory: 48, dom0Memory: 8, idle: 'wait' })
  domain = await host.createDomain({ name: 'one', memory: 8, vcpus: 1, framebuffers: [{ vnc: false }] })
  await domain.console.waitFor('tick 3')
  moment = await host.checkpoint()
}, 120_000)
afterAll(() => host.shutdown())

describe('a wrong argument', () => {
  test('of any public call is refused with a code and the facts, and changes nothing', { timeout: 120_000 }, async () => {
    const wrong: string[] = []
    let count = 0
    // What numbers mean to the control interface, and for how long it runs, is not a question of their kind.
    for (const call of surface.filter(({ name }) => name !== 'ControlInterface.run')) {
      for (const [index, parameter] of call.parameters.entries()) {
        const args = call.parameters.slice(0, index + 1).map(({ name, isOptional }, at) => (at === index || isOptional ? undefined : sample(call, name)))
        for (const { what, value } of parameter.wrong) {
          if (call.owner === 'ControlInterface' && typeof value === 'number') continue
          count += 1
          const found = await outcome(call, args.map((given, at) => (at === index ? value : given)))
          const where = `${call.name}(${parameter.name} = ${what})`
          if (found.code === undefined && !TAKEN.test(where)) wrong.push(`${where}: ${found.else}`)
          else if (found.code !== undefined && Object.keys(found.details ?? {}).length === 0) wrong.push(`${where}: ${found.code} without facts`)
        }
      }
    }
    expect(wrong).toEqual([])
    expect(count).toBeGreaterThan(500)
    expect(host.domains()).toHaveLength(1)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})

/** Numbers that are no count, size or name of anything, and such as are one of something that there is not. */
const NUMBERS = [NaN, Infinity, -Infinity, -1, -0.5, 0.5, 2 ** 31, 2 ** 32, 2 ** 53, Number.MAX_VALUE] as const
/** Whose numbers say for how long: any but a wrong one is right, and goes on for as long. Each with what bounds it. */
const DURATIONS: Readonly<Record<string, string>> = {
  'ControlInterface.run': 'its limits are asked for by the toolstack\'s loop alone, a million instructions at a time',
  parseDuration: 'nothing waits for what it answers',
}

/** What a call with one hostile number comes to, where that is neither an answer nor a refusal. */
async function unfit(call: SurfaceCall, index: number, value: number): Promise<string | undefined> {
  const args = call.parameters.slice(0, index + 1).map(({ name, isOptional }, at) => (at === index ? value : isOptional ? undefined : sample(call, name)))
  // What waits for what never comes waits as well for long.
  const { code, else: other } = await outcome(call, args, 10)
  return code !== undefined || other?.startsWith('a ') === true || other === 'nothing, for long' ? undefined : `${call.name}(${call.parameters[index]!.name} = ${value}): ${other}`
}

test('a number of any value is answered or refused by every public call, the control interface\'s too', { timeout: 120_000 }, async () => {
  const kept = domain
  domain = await host.createDomain({ name: 'numbers', memory: 4, maxMemory: 8, kernel: () => undefined, framebuffers: [{ vnc: false }] }, { paused: true })
  const wrong: (string | undefined)[] = []
  let count = 0
  for (const call of surface.filter(({ name }) => DURATIONS[name] === undefined)) {
    for (const [index, { type }] of call.parameters.entries()) {
      if (!/\bnumber\b|DomId|Mfn|EventPort|Duration|MemoryAmount|DomainReference|CpuPoolReference/.test(type) || type.includes('=>') || type.startsWith('{')) continue
      for (const value of NUMBERS) {
        count += 1
        wrong.push(await unfit(call, index, value))
      }
      // Numbers within lists.
      if (/number\[\]/.test(type)) for (const value of NUMBERS) wrong.push(await unfit(call, index, [value] as unknown as number))
      if (!host.hypervisor.hasDomain(domain.id)) domain = await host.createDomain({ name: 'numbers', memory: 4, maxMemory: 8, kernel: () => undefined, framebuffers: [{ vnc: false }] }, { paused: true })
    }
  }
  expect(wrong.filter((one) => one !== undefined)).toEqual([])
  expect(count).toBeGreaterThan(1000)
  await domain.destroy()
  domain = kept
  expect(host.hypervisor.checkInvariants()).toEqual([])
  expect(domain.info().crashed).toBe(false)
})

/** The hypercalls of a guest in TypeScript with a number in each of their places; `end` goes last, as it ends the domain. */
type HypercallName = Exclude<keyof HypercallPort, 'domid' | 'memory' | 'now' | 'version' | 'currentReservation' | 'maximumReservation' | 'consoleWrite'>
const HYPERCALLS: { readonly [name in HypercallName]: (port: HypercallPort, number: never) => readonly (() => unknown)[] } = {
  allocUnbound: (port, n) => [() => port.allocUnbound(n, n), () => port.allocUnbound(port.domid, n)],
  bindInterdomain: (port, n) => [() => port.bindInterdomain(n, n), () => port.bindInterdomain(port.domid, n)],
  bindVirq: (port, n) => [() => port.bindVirq(n, 0), () => port.bindVirq(0, n)], bindIpi: (port, n) => [() => port.bindIpi(n)], closePort: (port, n) => [() => port.closePort(n)],
  sendEvent: (port, n) => [() => port.sendEvent(n)], unmaskPort: (port, n) => [() => port.unmaskPort(n)], bindVcpu: (port, n) => [() => port.bindVcpu(n, n), () => port.bindVcpu(1 as never, n)],
  initControl: (port, n) => [() => port.initControl(n, n, n), () => port.initControl(0, n, 0), () => port.initControl(0, 0 as never, n)], expandArray: (port, n) => [() => port.expandArray(n)],
  setupGrantTable: (port, n) => [() => port.setupGrantTable(n)], unmapGrant: (port, n) => [() => port.unmapGrant(n)],
  mapGrant: (port, n) => [() => port.mapGrant({ domid: n, ref: n, readOnly: false }), () => port.mapGrant({ domid: port.domid, ref: n, readOnly: true })],
  copyGrants: (port, n) => [() => port.copyGrants([{ source: { frame: n, offset: n }, destination: { domid: n, ref: n, offset: n }, length: n }])],
  decreaseReservation: (port, n) => [() => port.decreaseReservation([n])], increaseReservation: (port, n) => [() => port.increaseReservation(n)],
  setTimer: (port, n) => [() => port.setTimer(n)], watchdog: (port, n) => [() => port.watchdog(n, n), () => port.watchdog(0, n)],
  mapForeign: (port, n) => [() => port.mapForeign(n, n), () => port.mapForeign(port.domid, n)], unmapForeign: (port, n) => [() => port.unmapForeign(n, n)],
  shutdown: (port, n) => [() => port.shutdown(n)],
}

test('a number of any value is answered or refused by every hypercall of a guest in TypeScript, and takes no time of its own', async () => {
  const told: string[] = []
  const memory = host.hypervisor.hostInfo().freeFrames
  const guest = await host.createDomain({ name: 'numbers', memory: 4, kernel: (kernel) => {
    const begun = kernel.now()
    for (const [name, calls] of Object.entries(HYPERCALLS).filter(([one]) => one !== 'shutdown')) {
      for (const value of NUMBERS) {
        for (const call of calls(kernel.hypercalls, value as never)) {
          try { call() } catch (error) {
            if (!XenError.is(error)) told.push(`${name}(${value}): ${String(error)}`)
          }
        }
      }
    }
    kernel.console?.log(kernel.now() - begun < 1e9 ? 'done' : 'done, late')
    HYPERCALLS.shutdown(kernel.hypercalls, NaN as never)[0]!()
  } })
  await guest.console.waitFor(/^done$/, { timeout: '5s' })
  expect(told).toEqual([])
  await guest.destroy()
  expect(host.hypervisor.checkInvariants()).toEqual([])
  expect(host.hypervisor.hostInfo().freeFrames).toBe(memory)
})

/** A call with arguments that are right, as far as anybody has to give them. */
const right = (call: SurfaceCall): unknown[] => call.parameters.filter(({ isOptional }) => !isOptional).map(({ name }) => sample(call, name))

/** What the calls of these owners come to, by call; those that always answer are left out. */
async function outcomes(owners: readonly string[]): Promise<Readonly<Record<string, string>>> {
  const found: Record<string, string> = {}
  for (const call of surface.filter(({ owner, isStatic, name }) => !isStatic && owners.includes(owner ?? '') && !ALWAYS.test(name))) {
    const { code, else: other } = await outcome(call, right(call))
    found[call.name] = code ?? `${other}`
  }
  return found
}

describe('a handle that is gone', () => {
  test('of a domain says so by every call of it', { timeout: 60_000 }, async () => {
    const kept = domain
    domain = await host.createDomain({ name: 'gone', memory: 4 }, { paused: true })
    await domain.destroy()
    const found = await outcomes(['Domain', 'DomainConsole'])
    domain = kept
    expect(Object.entries(found).filter(([, code]) => !['DOMAIN_NOT_FOUND', 'CLOSED'].includes(code))).toEqual([['Domain.waitForShutdown', 'a string']])
  })

  test('of a moment says so', async () => {
    const kept = moment
    moment = await host.checkpoint()
    moment.dispose()
    expect(await outcomes(['Moment'])).toEqual({})
    await expect(host.reset(moment)).rejects.toMatchObject({ code: 'CLOSED', details: { label: undefined } })
    await expect(moment.branch()).rejects.toMatchObject({ code: 'CLOSED' })
    expect(() => moment.prepare()).toThrow(expect.objectContaining({ code: 'CLOSED' }) as Error)
    moment = kept
  })
})

test('calls of one kind at the same time are each carried out or refused with a code', { timeout: 60_000 }, async () => {
  const wrong: string[] = []
  const idle = await host.createDomain({ name: 'idle', memory: 4, kernel: (kernel) => kernel.console!.log('up') })
  const kept = domain
  domain = idle
  for (const call of surface.filter(({ owner }) => owner === 'Domain' || owner === 'DomainConsole')) {
    const both = await Promise.all([outcome(call, right(call)), outcome(call, right(call))])
    if (both.some(({ code, else: other }) => code === undefined && other?.includes('Error') === true)) wrong.push(`${call.name}: ${JSON.stringify(both)}`)
  }
  domain = kept
  expect(wrong).toEqual([])
})

test('every operation is failed and given up at each of its steps by a test', () => {
  const rows = readFileSync(join(import.meta.dirname, '../sweeps/operation-steps.test.ts'), 'utf8')
  const operations = surface.filter(({ returns }) => returns.startsWith('Operation<')).map(({ method }) => method)
  expect(operations.length).toBeGreaterThan(15)
  expect(operations.filter((method) => !rows.includes(`{ name: '${method}',`))).toEqual([])
})

test('every call of a domain has its place in the table of what goes on beside what', () => {
  expect(Object.keys(DOMAIN_CALLS).sort()).toEqual(surface.filter(({ owner, isStatic }) => owner === 'Domain' && !isStatic).map(({ method }) => method).sort())
})

test('a host that was shut down says so by every call', { timeout: 60_000 }, async () => {
  await host.shutdown()
  const found = await outcomes(['Host', 'Domain', 'DomainConsole'])
  const answered = Object.entries(found).filter(([, code]) => !['CLOSED', 'DOMAIN_NOT_FOUND', 'INVALID_STATE'].includes(code))
  // Streams of what is over end, and say so to whoever reads them.
  expect(answered).toEqual([['Host.watchStatistics', 'a object'], ['Domain.waitForShutdown', 'a string']].sort((a, b) => surface.findIndex(({ name }) => name === a[0]) - surface.findIndex(({ name }) => name === b[0])))
})
