/**
 * A domain's configuration as it is now: what it was created from, with the memory, vCPUs and devices that it has been
 * given since. It goes along when the domain is saved or moved, and it is what a restarted domain is created from.
 * Reference: libxl_retrieve_domain_configuration's rules.
 */
import type { DomId } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import type { DomainDevices } from '../device-kinds/device-kinds.ts'
import { domainPath } from '../domains/domain-nodes.ts'
import type { KernelSource } from '../domains/kernel-source.ts'
import { memorySettings } from '../domains/memory-settings.ts'

/** What is asked about a domain. */
export interface LiveHost {
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
  const maxMemory = Math.floor(maximum ?? config.maxMemory)
  const memory = Math.min(maxMemory, Math.max(1, Math.ceil(target ?? config.memory)))
  return {
    ...config, uuid, name, memory, maxMemory, vcpus: wantedVcpus(host.store, domain), ...host.deviceConfigs(id),
  }
}
