/** Where guests spend their instructions, as a host and its domains tell it. */
import { describe, expect, test } from 'vitest'
import { speedscopeProfile } from '../../src/machine/index.ts'
import { Host } from '../../src/toolstack/index.ts'
import { BusyGuests } from '../support/busy-guests.ts'
import { startMini } from '../support/mini.ts'

describe('profiles', () => {
  test('a host tells those of its guests, and what has been compiled', async () => {
    const host = await Host.boot({ memory: 64, dom0Memory: 16, compiler: { samples: 1, slice: 500, batch: 1 } })
    const domain = await startMini(host)
    const { domains, regions, compiler } = host.profile()
    expect(domains.map(({ domid, name }) => [domid, name])).toEqual([[domain.id, domain.name]])
    const [{ profile }] = domains as [(typeof domains)[number]]
    expect(profile).toEqual(domain.profile())
    expect(profile.slice).toBe(500)
    expect(profile.exits['syscall']).toBeGreaterThan(10)
    expect(compiler!.made).toBeGreaterThan(0)
    expect(regions.length).toBe(compiler!.regions)
    expect(domain.profile({ vcpu: 0 })).toEqual(profile)
    expect(() => domain.profile({ vcpu: 7 })).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
    const [drawn] = speedscopeProfile(domains).profiles
    expect([drawn!.name, drawn!.endValue]).toEqual([domain.name, 500 * compiler!.samples])
    await host.shutdown()
    expect(host.profile().domains).toEqual([])
  })

  test('every vCPU has its own', () => {
    const { host } = new BusyGuests({ compiler: { slice: 200 } })
    host.hypervisor.run({ instructions: 150_000 })
    const { hypervisor } = host
    const binary = hypervisor.listDomains().filter(({ hasRegisters }) => hasRegisters)
    const profiles = binary.map(({ domid }) => hypervisor.profileVcpus(domid))
    expect(profiles.map(({ length }) => length)).toEqual(binary.map(() => 2))
    expect(profiles.flat().some((profile) => profile!.samples.length > 0)).toBe(true)
  }, 60_000)
})
