/**
 * A host of this library as the machine of an agent: the fleet's domains are its guests, made of their descriptions. A domain is paused until the fence lets
 * it run, and its name in the fleet is its name on the host.
 */
import { XenError } from '../../util/index.ts'
import type { Domain, Host, KernelSource } from '../../toolstack/index.ts'
import type { FleetDomain, HostLoad } from '../plan/fleet-state.ts'
import type { Machine, MachineFacts } from './fenced-machine.ts'
import type { MoveNetwork } from './move-network.ts'

/** How a host serves a fleet. */
export interface HostMachineOptions {
  /** MiB that the fleet may use of it. Default: all that its guests can have now. */
  readonly memory?: number | undefined
  /** Beside the kinds of guests that the host has. */
  readonly capabilities?: readonly string[] | undefined
  /** Storages that its `openDisk` reaches, by the names that stores there have (`storage` of a `BlockStore`): capabilities `storage:NAME`. */
  readonly storages?: readonly string[] | undefined
  /** Kernels by the whole description of a domain: programs in TypeScript are named by these only. Any other description is the text of a description file. */
  readonly kernels?: Readonly<Record<string, KernelSource>> | undefined
  /** What joins it with other hosts, so that domains move between them with their memory and their disks. Default: they are started anew there. */
  readonly moves?: MoveNetwork | undefined
}

/** Lets guests find in XenStore whose they are, and of what they are clones. */
async function tell({ store }: Host, domain: Domain, { name, clone }: FleetDomain): Promise<void> {
  const facts = { name, ...(clone === undefined ? {} : { 'clone-of': clone.of, 'clone-number': String(clone.number) }) }
  for (const [key, value] of Object.entries(facts)) await store.write(`/local/domain/${domain.id}/vm-data/fleet/${key}`, value)
}

/** Lets a domain run that is paused, or has it gone. */
async function runIf(domain: Domain, mayRun: () => boolean): Promise<void> {
  if (mayRun()) return domain.unpause()
  const { name } = domain
  await domain.destroy()
  throw new XenError('STALE_EPOCH', `domain ${name} is not to run here any more`, { details: { domain: name } })
}

/** What a host's guests are at: CPU since it was asked last, memory now. dom0 is not counted: it is there before the fleet is. */
function loadOf(host: Host): () => HostLoad {
  let before = host.statistics()
  return () => {
    const now = host.statistics()
    const since = new Map(before.domains.map(({ id, cpuTime }) => [id, cpuTime]))
    const guests = now.domains.filter(({ id }) => id !== 0)
    const used = guests.reduce((all, { id, cpuTime }) => all + cpuTime - (since.get(id) ?? 0), 0)
    const offered = (now.time - before.time) * now.cpus
    before = now
    return { cpu: offered <= 0 ? 0 : Math.min(1, Math.round((100 * used) / offered) / 100), memory: guests.reduce((all, { memory }) => all + memory, 0) }
  }
}

/** Makes a machine of a host. */
export function hostMachine(host: Host, { memory, capabilities = [], storages = [], kernels = {}, moves }: HostMachineOptions = {}): Machine {
  const own = new Set<string>()
  /** Domains that stand still, by one pause each. A number is nobody else's. */
  const still = new Set<number>()
  const facts: MachineFacts = {
    memory: memory ?? Math.floor(host.info().freeMemory), cpus: host.info().cpus, capabilities: [...Object.keys(host.capabilities().types), ...storages.map((each) => `storage:${each}`), ...capabilities],
  }
  const domainOf = (name: string) => host.domains().find((domain) => domain.name === name && own.has(name))
  const create = ({ name, memory: size, vcpus, description }: FleetDomain): Promise<Domain> => {
    const kernel = kernels[description]
    // Hosts make up who a domain is by their seed, which several of a fleet may have in common; and it is to be the same wherever it is started.
    const identity = `the fleet's ${name}`
    if (description === '' || kernel !== undefined) return host.createDomain({ name, memory: size, vcpus, ...(kernel === undefined ? {} : { kernel }) }, { paused: true, identity })
    return host.createDomain(description, { paused: true, identity, overrides: [`name="${name}"`, `memory=${size}`, `vcpus=${vcpus}`] })
  }
  return {
    facts: () => facts,
    load: loadOf(host),
    async start(wanted, mayRun) {
      const domain = await create(wanted)
      own.add(wanted.name)
      await tell(host, domain, wanted)
      await runIf(domain, mayRun)
    },
    stop: async (name) => {
      await domainOf(name)?.destroy()
      own.delete(name)
    },
    pause: (name) => {
      const domain = domainOf(name)
      if (domain === undefined || still.has(domain.id)) return
      still.add(domain.id)
      // Not `domain.pause()`, which waits for its turn behind what is under way on the domain: a fence does not.
      host.hypervisor.pauseDomain(domain.id)
    },
    resume: (name) => {
      const domain = domainOf(name)
      if (domain !== undefined && still.delete(domain.id)) domain.unpause()
    },
    domains: () => host.domains().filter(({ name }) => own.has(name)).map(({ name }) => name),
    live: moves && {
      network: moves,
      protect: (name, transport, options) => {
        const domain = host.domain(name)
        const protection = domain.protect(transport, { ...options, paused: true })
        protection.progress.on('captured', () => {
          // The fence has been faster.
          if (still.has(domain.id)) host.hypervisor.unpauseDomain(domain.id)
          else still.add(domain.id)
        })
        return { onProtected: (act) => void protection.progress.on('protected', act), ended: protection.then(({ end }) => end === 'failed-over') }
      },
      standBy: (wanted, transport, arbiter) => {
        const { name, description } = wanted
        const kernel = kernels[description]
        const standing = host.standBy(transport, { arbiter, paused: true, trust: 'all', ...(kernel === undefined ? {} : { kernel }) })
        return {
          run: async (mayRun) => {
            const domain = await standing
            if (domain === undefined) throw new XenError('INVALID_STATE', `domain ${name} has not come`, { details: { domain: name } })
            own.add(name)
            await tell(host, domain, wanted)
            await runIf(domain, mayRun)
          },
          drop: async () => void await (await standing)?.destroy().catch(() => undefined),
          ended: standing.then(() => undefined),
        }
      },
    },
  }
}
