/** What a description says of CPUID, by what the guest reads: PV and PVH guests of the embedded kernel, and a kernel's own policy. */
import { describe, expect, test } from 'vitest'
import { type Domain, type Host, type XenError } from '../../src/index.ts'
import { CPU_FEATURES, type CpuFeature } from '../../src/x86/index.ts'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 48, dom0Memory: 8, idle: 'wait' })

/** What CPUID tells the guest's first vCPU. */
const told = (host: Host, { id }: Domain) => {
  const { cpuid } = host.hypervisor.getCpuPolicy(id)
  const answer = (leaf: number, subleaf = 0): readonly number[] => {
    const found = cpuid.find((one) => one.leaf === leaf && (one.subleaf === 0xffff_ffff || one.subleaf === subleaf))
    return found === undefined ? [0, 0, 0, 0] : [found.eax, found.ebx, found.ecx, found.edx]
  }
  const has = (name: CpuFeature): boolean => {
    const { leaf, subleaf, register, bit } = CPU_FEATURES[name]
    return (answer(leaf, subleaf)[register]! >>> bit & 1) === 1
  }
  return { answer, has }
}
const refusal = async (host: Host, cpuid: string | readonly string[]): Promise<string> =>
  host.createDomain({ name: 'refused', memory: 4, cpuid }).then(() => 'taken', (error: XenError) => `${error.code}: ${error.message}`)

describe('flags that are hidden', () => {
  test.each(['pv', 'pvh'] as const)('are not told to a %s guest, nor what depends on them', async (type) => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'a', type, memory: 8, cpuid: 'host,avx=0,sse4.2=0, family=6' })
    const usual = told(host, await host.createDomain({ name: 'b', type, memory: 8 }))
    const { has, answer } = told(host, domain)
    for (const name of ['avx', 'avx2', 'fma', 'f16c', 'sse4_2'] as const) expect([name, has(name), usual.has(name)]).toEqual([name, false, true])
    for (const name of ['sse4_1', 'xsave', 'bmi2'] as const) expect([name, has(name)]).toEqual([name, true])
    // What XSAVE keeps of AVX is gone with it.
    expect([answer(0xd)[0]! & 4, usual.answer(0xd)[0]! & 4, answer(0xd, 2)[0]]).toEqual([0, 4, 0])
    expect(answer(1)[0]! >>> 8 & 15).toBe(6)
    await domain.console.waitFor('mini> ')
  })

  test('stay hidden where the domain starts anew, is moved, or is described by its own file', async () => {
    const host = await boot()
    const domain = await host.createDomain('name = "a"\nmemory = 8\ncpuid = ["0x1:ecx=xxx0xxxxxxxxxxxxxxxxxxxxxxxxxxxx", "7,0:ebx=xxxxxxxxxxxxxxxxxxxxxxx0xxxxxxxx"]')
    await domain.console.waitFor('mini> ')
    const before = host.hypervisor.getCpuPolicy(domain.id)
    expect([told(host, domain).has('avx'), told(host, domain).has('bmi2')]).toEqual([false, false])
    const pieces: Uint8Array[] = []
    await domain.save({ write: (bytes) => void pieces.push(bytes.slice()) })
    const back = await host.restore(new Uint8Array(Buffer.concat(pieces)))
    expect(back.config.cpuid).toEqual(['0x1:ecx=xxx0xxxxxxxxxxxxxxxxxxxxxxxxxxxx', '0x7,0:ebx=xxxxxxxxxxxxxxxxxxxxxxx0xxxxxxxx'])
    expect(host.hypervisor.getCpuPolicy(back.id)).toEqual(before)
    const again = new Promise<number>((resolve) => { host.events.on('domain-restarted', ({ newDomid }) => resolve(newDomid)) })
    await back.console.waitFor('mini: restored')
    void back.reboot().catch(() => undefined)
    expect(told(host, host.domain(await again)).has('avx')).toBe(false)
  })

  test('are none where nothing is said', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'a', memory: 4, cpuid: 'host,avx=x,sse3=k,movbe=s' })
    expect(domain.config.cpuid).toEqual([])
  })
})

test('what the host does not offer, or always tells, is refused by name, and nothing is made', async () => {
  const host = await boot()
  const before = host.hypervisor.hostInfo().freeFrames
  for (const [cpuid, why] of [
    ['host,avx512f=1', /^NOT_SUPPORTED: cpuid is refused: guests are not told otherwise here: avx512f \(leaf 0x7, EBX bit 16\)$/],
    ['host,avx=0,avx2=1', /: avx2 \(leaf 0x7, EBX bit 5\)$/],
    ['host,localapicid=255', /leaf 0x1, EBX bit 24/], [[`0x20:eax=${'1'.repeat(32)}`], /no such leaf here: leaf 0x20$/], ['host,maxhvleaf=4', /a bit \(leaf 0x40000000, EAX bit 2\)/],
    ['avx=0', /^INVALID_CONFIG: cpuid must begin with "host"/], ['host,avxx=0', /no flag "avxx"; did you mean avx\?/], ['host,avx', /without "="/],
    ['host,avx=2', /has "2" for avx: 0 to 1, x, k or s/], [['1:ecx=xx'], /32 characters/], [['1;ecx=xx'], /without a colon/], [['one:ecx=x'], /for a leaf/],
    [[`1:fcx=${'x'.repeat(32)}`], /for a register/], [['1,2,3:ecx=x'], /a leaf and a subleaf/], [['x'.repeat(2000)], /too long/],
  ] as const) expect([cpuid, await refusal(host, cpuid)]).toEqual([cpuid, expect.stringMatching(why)])
  const program = await host.createDomain({ name: 'refused', memory: 4, kernel: () => undefined, cpuid: 'host,avx=0' }).catch((error: XenError) => error.message)
  expect(program).toMatch(/a guest without registers/)
  expect([host.domains(), host.hypervisor.hostInfo().freeFrames]).toEqual([[], before])
})
