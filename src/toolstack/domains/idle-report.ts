/** Who waits for what on a host that can never go on: in words, and as data. */
import type { ControlInterface, DomainInfo, VcpuInfoSnapshot } from '../../hypervisor/index.ts'
import { XenError } from '../../util/index.ts'
import { shutdownReasonName } from './shutdown-reason.ts'

/** Domains that are described; a host may have hundreds. */
const SHOWN_DOMAINS = 20
/** Ports that are listed of one poll. */
const SHOWN_PORTS = 8

/** What a domain does while nothing happens. */
export interface IdleDomain {
  readonly id: number
  readonly name: string
  /** In words: `paused`, `crashed`, `vCPU 0 is blocked in SCHEDOP_poll on port 3`, ... */
  readonly state: string
}

function vcpuState({ vcpu, online, blocked, polling }: VcpuInfoSnapshot): string {
  const name = `vCPU ${vcpu}`
  if (!online) return `${name} is down`
  if (polling !== undefined && polling.length > 0) {
    const ports = polling.slice(0, SHOWN_PORTS).join(', ')
    return `${name} is blocked in SCHEDOP_poll on port${polling.length === 1 ? '' : 's'} ${ports}${polling.length > SHOWN_PORTS ? ', ...' : ''}`
  }
  if (polling !== undefined) return `${name} is blocked in SCHEDOP_poll without a port`
  return blocked ? `${name} waits for an event` : `${name} does not run`
}

/** What a domain does, in words. */
function stateOf(control: ControlInterface, info: DomainInfo): string {
  if (info.dying) return 'is being destroyed'
  if (info.crashed) return 'has crashed, and is kept'
  if (info.shutdownReason !== undefined) return `has ended (${shutdownReasonName(info.shutdownReason)}), and is kept`
  if (info.paused) return info.cpuTime === 0 ? 'has never been unpaused' : 'is paused'
  const vcpus = Array.from({ length: info.maxVcpu + 1 }, (_, vcpu) => control.vcpuInfo(info.domid, vcpu))
  const used = vcpus.filter(({ online, vcpu }) => online || vcpu === 0)
  const down = vcpus.length - used.length
  return [...used.map(vcpuState), ...(down > 0 ? [`${down} more ${down === 1 ? 'vCPU is' : 'vCPUs are'} down`] : [])].join('; ')
}

/** What all domains do; dom0, which waits for the others, only where it is alone. */
export function idleDomains(control: ControlInterface, nameOf: (info: DomainInfo) => string): readonly IdleDomain[] {
  const all = control.listDomains()
  const guests = all.filter(({ domid }) => domid !== 0)
  return (guests.length > 0 ? guests : all).map((info) => ({ id: info.domid, name: nameOf(info), state: stateOf(control, info) }))
}

/** The error of everybody who waits. */
export function idleError(waits: readonly string[], domains: readonly IdleDomain[]): XenError {
  const shown = domains.slice(0, SHOWN_DOMAINS).map(({ id, name, state }) => `  domain ${id} (${name}): ${state}`)
  const more = domains.length > SHOWN_DOMAINS ? [`  and ${domains.length - SHOWN_DOMAINS} more domains`] : []
  const lines = [
    'nothing can happen on this host any more: no guest can run, no timer is set, and nothing is expected from outside',
    'waited for:', ...waits.map((what) => `  ${what}`), 'domains:', ...shown, ...more,
    'a host whose input comes from elsewhere is booted with { idle: \'wait\' }, or told so by host.expectInput()',
  ]
  return new XenError('IDLE', lines.join('\n'), { details: { waits, domains } })
}
