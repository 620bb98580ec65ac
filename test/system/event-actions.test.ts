/**
 * What is done with a domain when it ends: each action for each way to end, as a description file says it. That guests really
 * end in these ways, of every kind, is test/sweeps/contract/rows/shutdown.ts; here the toolstack says that they have.
 * Reference: xl.cfg(5), "Event Actions".
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { SHUTDOWN } from '../../src/abi/index.ts'
import { ACTIONS, type Action } from '../../src/toolstack/index.ts'
import type { Domain, Host, HostEvent, KernelSource } from '../../src/index.ts'
import { ByteCollector } from '../support/byte-collector.ts'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 48, dom0Memory: 8 })
/** How a domain may end, by the option for it. */
const ENDS = {
  on_poweroff: SHUTDOWN.poweroff, on_reboot: SHUTDOWN.reboot, on_watchdog: SHUTDOWN.watchdog, on_crash: SHUTDOWN.crash, on_soft_reset: SHUTDOWN.soft_reset,
} as const
/** Seconds behind which a domain that crashes is restarted. */
const OLD_ENOUGH = 11

/** What there is of a domain and its successor when an action has been carried out. */
interface Outcome {
  /** The domain itself. */
  readonly stays: boolean
  /** Another one of its name and UUID, which runs. */
  readonly successor: boolean
  readonly core: boolean
  /** The domain goes on, anew. */
  readonly reset?: boolean
}

const RESTARTED: Outcome = { stays: false, successor: true, core: false }
const GONE: Outcome = { stays: false, successor: false, core: false }
const OUTCOMES: Readonly<Record<Action, Outcome>> = {
  destroy: GONE, restart: RESTARTED, 'rename-restart': { ...RESTARTED, stays: true }, preserve: { ...GONE, stays: true },
  'coredump-destroy': { ...GONE, core: true }, 'coredump-restart': { ...RESTARTED, core: true }, 'soft-reset': { stays: true, successor: false, core: false, reset: true },
}

/** A domain that ends in a way, and what follows; its guest in TypeScript does nothing. */
async function ended(host: Host, { type, option, action, kernel = () => undefined }: { readonly type: 'pv' | 'pvh'; readonly option: keyof typeof ENDS; readonly action: Action; readonly kernel?: KernelSource }) {
  const domain = await host.createDomain(`name = "it"\ntype = "${type}"\nmemory = 4\n${option} = "${action}"`, { kernel })
  await host.until('it to be old enough', () => false, { timeout: { seconds: OLD_ENOUGH + 1 } }).catch(() => undefined)
  const told: HostEvent[] = []
  const stop = host.events.onAny((event) => void told.push(event))
  const { id, uuid } = domain
  host.hypervisor.shutdownDomain(id, ENDS[option])
  await host.settled()
  stop()
  return { domain, id, uuid, told: told.filter(({ type: of }) => !/^(device|operation)-/.test(of)) }
}

/** All that a host has of it. */
function found(host: Host, domain: Domain, uuid: string): Omit<Outcome, 'core' | 'reset'> {
  const successor = host.domains().find(({ id }) => id !== domain.id)
  if (successor !== undefined) {
    expect([successor.name, successor.uuid, successor.info().shutdown]).toEqual(['it', uuid, false])
    expect(host.store.read(`/vm/${uuid}/name`)).toBe('it')
  }
  return { stays: domain.exists, successor: successor !== undefined }
}

test.each(Object.keys(ENDS) as (keyof typeof ENDS)[])('%s has each action carried out', async (option) => {
  const cores: string[] = []
  const warnings: string[] = []
  const host = await boot({ openCore: ({ name }) => {
    cores.push(name)
    return new ByteCollector()
  } })
  for (const action of ACTIONS) {
    const { domain, id, uuid, told } = await ended(host, { type: 'pv', option, action })
    // A PV guest has no soft reset: it is destroyed, and a warning says so.
    const { stays, successor, core } = OUTCOMES[action === 'soft-reset' ? 'destroy' : action]
    expect([action, found(host, domain, uuid)]).toEqual([action, { stays, successor }])
    expect([action, cores.splice(0)]).toEqual([action, core ? ['it'] : []])
    if (action === 'soft-reset') warnings.push('soft-reset of it has no effect: not for PV guests; destroy instead')
    const [shutdown] = told.filter(({ type }) => type === 'domain-shutdown')
    expect(shutdown).toMatchObject({ domid: id, reason: option.slice(3).replace('_', '-'), action: action === 'soft-reset' ? 'destroy' : action })
    const has = (type: HostEvent['type']): boolean => told.some((event) => event.type === type)
    expect([action, has('action-failed'), has('domain-destroyed'), has('domain-restarted'), has('domain-renamed')]).toEqual([action, false, !stays, successor, stays && successor])
    for (const each of host.domains()) await each.destroy()
  }
  expect(host.warnings.map(({ message }) => message)).toEqual(warnings)
  expect(host.hypervisor.checkInvariants()).toEqual([])
})

test('a domain that stays beside its successor has another name and UUID, in XenStore too, and both go without a rest', async () => {
  const host = await boot()
  await host.createDomain({ name: 'it-2', memory: 4 }, { paused: true })
  const { domain, uuid, told } = await ended(host, { type: 'pv', option: 'on_poweroff', action: 'rename-restart' })
  const { id, name } = domain
  expect([id, name, domain.info().shutdown]).toEqual([2, 'it-2-2', true])
  expect(domain.uuid).not.toBe(uuid)
  expect(told.find(({ type }) => type === 'domain-renamed')).toMatchObject({ domid: id, name, before: 'it' })
  const vm = `/vm/${domain.uuid}`
  expect([`/local/domain/${id}/vm`, `/local/domain/${id}/name`, `${vm}/name`, `${vm}/uuid`].map((path) => host.store.read(path))).toEqual([vm, name, name, domain.uuid])
  expect(host.store.getPermissions(vm)).toEqual(['n0', `r${id}`])
  expect(host.domain('it').uuid).toBe(uuid)
  expect(domain.uptime()).toBeGreaterThan(OLD_ENOUGH)
  for (const each of host.domains()) await each.destroy()
  expect([host.store.list('/vm'), host.store.list('/libxl')]).toEqual([[], []])
})

test('a guest that can be reset is, whatever it has ended by, and goes on where it was', { timeout: 30_000 }, async () => {
  const host = await boot()
  const kernel = readFileSync(join(import.meta.dirname, '../../examples/guests/mini/mini-pvh.elf'))
  for (const option of Object.keys(ENDS) as (keyof typeof ENDS)[]) {
    const { domain, id, told } = await ended(host, { type: 'pvh', option, action: 'soft-reset', kernel })
    expect([option, domain.exists, domain.info().shutdown, host.domains().length]).toEqual([option, true, false, 1])
    expect(told.filter(({ type }) => type === 'domain-reset')).toMatchObject([{ domid: id }])
    expect(told.some(({ type }) => type === 'domain-destroyed' || type === 'action-failed')).toBe(false)
    // It is not crashed any more, and says so when it ends anew.
    expect([option, domain.crash, domain.info().crashed]).toEqual([option, undefined, false])
    await domain.destroy()
  }
  expect(host.warnings).toEqual([])
})
