/**
 * Domains as `xl list` shows them. Reference: xl(1), "list"; the form is that of Xen 4.17's xl.
 */
import { checkArgument, list } from '../../util/index.ts'
import { PAGE_SIZE } from '../../abi/index.ts'
import type { DomainInfo } from '../../hypervisor/index.ts'

/** One line of the list. */
export interface DomainSummary {
  readonly name: string
  readonly id: number
  /** MiB that it has now. */
  readonly memory: number
  /** Virtual CPUs that are online. */
  readonly vcpus: number
  /** `rbpscd`, a dash for what is not so: running, blocked, paused, shut down, crashed, dying. */
  readonly state: string
  /** Seconds of CPU that it has used. */
  readonly time: number
}

/** State letters in the order in which xl shows them. */
export function stateLetters(info: DomainInfo): string {
  const letter = (is: boolean, as: string): string => (is ? as : '-')
  return letter(info.running, 'r') + letter(info.blocked, 'b') + letter(info.paused, 'p')
    + letter(info.shutdown || info.crashed, 's') + letter(info.crashed, 'c') + letter(info.dying, 'd')
}

/** Sums up one domain. */
export const summarize = (name: string, info: DomainInfo): DomainSummary => ({
  name, id: info.domid, memory: Math.floor(info.totalPages * PAGE_SIZE / 2 ** 20), vcpus: info.onlineVcpus,
  state: stateLetters(info), time: info.cpuTime / 1e9,
})

/** The table that `xl list` prints, with a line end behind each line. */
export function formatDomainList(domains: readonly DomainSummary[]): string {
  checkArgument('the domains', domains, list)
  const right = (value: number | string, width: number): string => String(value).padStart(width)
  const lines = domains.map(({ name, id, memory, vcpus, state, time }) => {
    const numbers = `${right(id, 5)} ${right(memory, 5)} ${right(vcpus, 5)}`
    return `${name.padEnd(40)} ${numbers}     ${state}  ${right(time.toFixed(1), 8)}`
  })
  return ['Name                                        ID   Mem VCPUs\tState\tTime(s)', ...lines, ''].join('\n')
}
