/**
 * How many vCPUs a domain is to use: the toolstack writes which are available, the guest takes its CPUs up or down.
 * Reference: docs/misc/xenstore-paths.pandoc, cpu/[0-9]+/availability; libxl_set_vcpuonline.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import { shown, XenError, type DomId, tryRead } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import { checkCall, type SetVcpusOptions } from './call-options.ts'
import { domainPath } from '../domains/domain-nodes.ts'
import type { Operation } from '../run/operation.ts'
import type { Operations } from '../run/operations.ts'
import { checkLives, checkPatience, type RunLoop } from '../run/run-loop.ts'
import type { Wishes } from '../run/wishes.ts'

/** What it needs of the host. */
export interface VcpuHost {
  readonly control: ControlInterface
  readonly store: LocalStore
  readonly loop: RunLoop
  readonly operations: Operations
  readonly vcpuWishes: Wishes<Availability>
  onVcpuTarget(domid: DomId, vcpus: number): void
}

/** What XenStore says about each vCPU; undefined where it says nothing. */
export type Availability = readonly (string | undefined)[]

/** How many vCPUs a domain uses. */
export interface VcpuProgress {
  readonly type: 'vcpus'
  readonly online: number
  readonly wanted: number
}

const availabilityNode = (domid: DomId, vcpu: number): string => `${domainPath(domid)}/cpu/${vcpu}/availability`

function checkCount({ control }: VcpuHost, domid: DomId, count: number): number {
  const most = control.domainInfo(domid).maxVcpu + 1
  if (Number.isInteger(count) && count >= 1 && count <= most) return most
  throw new XenError('INVALID_ARGUMENT', `domain ${domid} can have 1 to ${most} vCPUs, got ${shown(count)}`, {
    details: { count, maximum: most },
  })
}

/** Writes which vCPUs are to be used, all at once. */
function write(store: LocalStore, domid: DomId, values: Availability): void {
  store.transaction((transaction) => values.forEach((value, vcpu) => {
    if (value === undefined) transaction.tryRm(availabilityNode(domid, vcpu))
    else transaction.write(availabilityNode(domid, vcpu), value)
  }))
}

/**
 * Says how many vCPUs a domain is to use. Aborted or timed out, what was written before is back; it rejects with
 * SUPERSEDED when a newer wish comes before, and with INVALID_STATE when the domain ends.
 */
export function setVcpuTarget(
  host: VcpuHost,
  domid: DomId,
  count: number,
  options: SetVcpusOptions,
): Operation<void, VcpuProgress> {
  const { control, store, loop } = host
  const check = (): void => checkCall('setVcpus', options)
  const activity = { kind: 'vcpus', doing: 'being given another number of vCPUs' } as const
  const settings = { name: `vCPUs of domain ${domid}`, domid, activity, signal: tryRead(() => options?.signal), check }
  return host.operations.start<void, VcpuProgress>(settings, async ({ report, undo, signal }) => {
    const vcpus = Array.from({ length: checkCount(host, domid, count) }, (_, vcpu) => vcpu)
    checkPatience(options, settings.name)
    const wish = host.vcpuWishes.begin(domid, vcpus.map((vcpu) => store.tryRead(availabilityNode(domid, vcpu))))
    undo(() => wish.takeBack((before) => {
      if (control.hasDomain(domid)) write(store, domid, before)
    }))
    write(store, domid, vcpus.map((vcpu) => (vcpu < count ? 'online' : 'offline')))
    host.onVcpuTarget(domid, count)
    loop.kick()
    let reported: number | undefined
    const reached = (): boolean => {
      wish.check()
      const { onlineVcpus } = control.domainInfo(domid)
      if (onlineVcpus !== reported) report({ type: 'vcpus', online: onlineVcpus, wanted: count })
      reported = onlineVcpus
      if (onlineVcpus !== count && options.wait === true) checkLives(control, domid, settings.name)
      return onlineVcpus === count
    }
    if (!reached() && options.wait === true) {
      await loop.until(settings.name, reached, { ...options, signal, domid })
    }
    wish.fulfil()
  })
}
