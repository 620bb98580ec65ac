/** Calls of this room by name, with arguments that are plain data: what was taken down at a host's door is called again by it. */
import { XenError } from '../../util/index.ts'
import type { DiskLimits } from '../devices/device-limits.ts'
import type { PlainCall } from './control-seat.ts'
import type { AffinityWish, Trigger, VcpuSummary } from './vcpu-control.ts'
import type { CpuPoolOptions, CpuPools } from './cpu-pools.ts'

/** The calls of a host that come in this way; a domain is named by its number. */
export interface PlainCallHost {
  readonly cpupools: CpuPools
  setAffinity(domid: number, vcpu: number | 'all', affinity: AffinityWish): void
  setScheduling(domid: number, values: Readonly<Record<string, number>>, options?: { readonly vcpu?: number }): void
  dmesg(options: { readonly clear?: boolean }): string
  debugKeys(keys: string): void
  domain(domid: number): {
    moveToPool(pool: string | number): void
    trigger(trigger: Trigger, options?: { readonly vcpu?: number }): void
    rename(name: string): void
    setNicRate(nic: number | string, rate: string | undefined): void
    setNicLink(nic: number | string, state: 'up' | 'down'): void
    setDiskLimits(disk: number | string, limits: DiskLimits): void
    claimMemory(mebibytes: number): void
    sysrq(letter: string): unknown
    vcpus(): readonly VcpuSummary[]
  }
}

type Call = (host: PlainCallHost, ...given: never[]) => unknown

/** Each call by its name. */
const PLAIN_CALLS: Readonly<Record<string, Call>> = {
  setAffinity: (host, domid: number, vcpu: number | 'all', affinity: AffinityWish) => host.setAffinity(domid, vcpu, affinity),
  setScheduling: (host, domid: number, values: Readonly<Record<string, number>>, options: { readonly vcpu?: number }) => host.setScheduling(domid, values, options),
  dmesg: (host, options: { readonly clear?: boolean }) => host.dmesg(options),
  debugKeys: (host, keys: string) => host.debugKeys(keys),
  moveToPool: (host, domid: number, pool: string | number) => host.domain(domid).moveToPool(pool),
  trigger: (host, domid: number, trigger: Trigger, vcpu: number) => host.domain(domid).trigger(trigger, { vcpu }),
  rename: (host, domid: number, name: string) => host.domain(domid).rename(name),
  setNicRate: (host, domid: number, nic: number | string, rate: string | undefined) => host.domain(domid).setNicRate(nic, rate),
  setNicLink: (host, domid: number, nic: number | string, state: 'up' | 'down') => host.domain(domid).setNicLink(nic, state),
  setDiskLimits: (host, domid: number, disk: number | string, limits: DiskLimits) => host.domain(domid).setDiskLimits(disk, limits),
  claimMemory: (host, domid: number, mebibytes: number) => host.domain(domid).claimMemory(mebibytes),
  sysrq: (host, domid: number, letter: string) => host.domain(domid).sysrq(letter),
  'cpupools.create': (host, options: CpuPoolOptions) => host.cpupools.create(options),
  'cpupool.setParameters': (host, pool: number, values: Readonly<Record<string, number>>) => host.cpupools.find(pool).setParameters(values),
  'cpupool.rename': (host, pool: number, name: string) => host.cpupools.find(pool).rename(name),
  'cpupool.addCpus': (host, pool: number, cpus: string | readonly number[]) => host.cpupools.find(pool).addCpus(cpus),
  'cpupool.removeCpus': (host, pool: number, cpus: string | readonly number[]) => host.cpupools.find(pool).removeCpus(cpus),
  'cpupool.destroy': (host, pool: number) => host.cpupools.find(pool).destroy(),
}

/** Makes a call anew. Throws INVALID_ARGUMENT for one that there is not; what is no argument of one is refused by the call itself. */
export function makePlainCall(host: PlainCallHost, { name, arguments: given }: PlainCall): unknown {
  const call = Object.hasOwn(PLAIN_CALLS, name) ? PLAIN_CALLS[name] : undefined
  if (call === undefined) throw new XenError('INVALID_ARGUMENT', `there is no call ${name}`, { details: { name } })
  // Each call checks what it is given, whatever its type says.
  return call(host, ...given as never[])
}
