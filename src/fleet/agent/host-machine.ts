/**
 * A host of this library as the machine of an agent: the fleet's domains are its guests, made of their descriptions. A domain is paused until the fence lets
 * it run, and its name in the fleet is its name on the host.
 */
import { XenError } from '../../util/index.ts'
import type { Host, KernelSource } from '../../toolstack/index.ts'
import type { FleetDomain } from '../plan/fleet-state.ts'
import type { Machine, MachineFacts } from './fenced-machine.ts'

/** How a host serves a fleet. */
export interface HostMachineOptions {
  /** MiB that the fleet may use of it. Default: all that its guests can have now. */
  readonly memory?: number | undefined
  /** Beside the kinds of guests that the host has. */
  readonly capabilities?: readonly string[] | undefined
  /** Kernels by name, for descriptions that say `kernel="name"`: programs in TypeScript are named by these only. */
  readonly kernels?: Readonly<Record<string, KernelSource>> | undefined
}

/** Makes a machine of a host. */
export function hostMachine(host: Host, { memory, capabilities = [], kernels = {} }: HostMachineOptions = {}): Machine {
  const own = new Set<string>()
  const facts: MachineFacts = {
    memory: memory ?? Math.floor(host.info().freeMemory), cpus: host.info().cpus, capabilities: [...Object.keys(host.capabilities().types), ...capabilities],
  }
  const domainOf = (name: string) => host.domains().find((domain) => domain.name === name && own.has(name))
  return {
    facts: () => facts,
    async start({ name, memory: size, vcpus, description }: FleetDomain, mayRun) {
      const kernel = kernels[description]
      const domain = await host.createDomain({ name, memory: size, vcpus, ...(kernel === undefined ? {} : { kernel }) }, { paused: true })
      own.add(name)
      if (mayRun()) return domain.unpause()
      await domain.destroy()
      throw new XenError('STALE_EPOCH', `domain ${name} is not to run here any more`, { details: { domain: name } })
    },
    stop: async (name) => {
      await domainOf(name)?.destroy()
      own.delete(name)
    },
    pause: (name) => domainOf(name)?.pause(),
    resume: (name) => domainOf(name)?.unpause(),
    domains: () => host.domains().filter(({ name }) => own.has(name)).map(({ name }) => name),
  }
}
