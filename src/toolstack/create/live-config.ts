/**
 * A domain's configuration as it is now: what it was created from, with the memory, vCPUs, place among the CPUs and devices
 * that it has been given since. It goes along when the domain is saved or moved, and it is what a restarted domain is created from.
 * Reference: libxl_retrieve_domain_configuration's rules.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import { LEAST_MEMORY, memoryFor } from '../config/option-values.ts'
import type { DomainDevices } from '../device-kinds/device-kinds.ts'
import { domainPath } from '../domains/domain-nodes.ts'
import type { KernelSource } from '../domains/kernel-source.ts'
import { memorySettings } from '../domains/memory-settings.ts'

import { liveScheduling } from './domain-scheduling.ts'

/** What is asked about a domain. */
export interface LiveHost {
  readonly control: ControlInterface
  readonly store: LocalStore
  /** The devices that it has. */
  deviceConfigs(domid: DomId): DomainDevices
}

/** Whose configuration it is. */
export interface ConfiguredDomain {
  readonly id: DomId
  readonly name: string
  readonly uuid: string
  readonly config: DomainConfig<KernelSource>
}

/** How many vCPUs the domain is to use. */
function wantedVcpus(store: LocalStore, { id, config }: ConfiguredDomain): number {
  const vcpus = Array.from({ length: config.maxVcpus }, (_, vcpu) => vcpu)
  const online = vcpus.filter((vcpu) => store.tryRead(`${domainPath(id)}/cpu/${vcpu}/availability`) !== 'offline')
  return Math.max(1, online.length)
}

/** The configuration as it is now. */
export function liveConfig(host: LiveHost, domain: ConfiguredDomain): DomainConfig<KernelSource> {
  const { config, uuid, name, id } = domain
  const { target, maximum } = memorySettings(host.store, id)
  const most = maximum ?? config.maxMemory
  const maxMemory = most < 1 ? memoryFor(most) : Math.floor(most)
  const memory = Math.min(maxMemory, Math.max(LEAST_MEMORY, memoryFor(target ?? config.memory)))
  return {
    ...config, uuid, name, memory, maxMemory, vcpus: wantedVcpus(host.store, domain), ...liveScheduling(host, id), ...host.deviceConfigs(id),
  }
}
