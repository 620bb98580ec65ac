/** The control interface's face of pools of CPUs: it finds the pool, asks the core, and throws where that refuses. */
import type { Vcpu } from '../../domains/domain.ts'
import type { RefusalFacts } from '../../domains/refusal-facts.ts'
import type { CpuPool } from '../../scheduler/index.ts'
import type { CpuPoolOperations } from '../core/cpu-pools.ts'
import type { Told } from '../core/scheduling.ts'
import type { CpuPoolControl } from './control-interface.ts'
import { type DomainFinder, foundDomain } from './found.ts'
import { accepted, refusal } from './refusals.ts'

/** What the face of pools asks. */
export interface CpuPoolFaceParts {
  readonly domains: DomainFinder
  readonly pools: CpuPoolOperations
}

/** Makes the face of pools. */
export function cpuPoolFace({ domains, pools }: CpuPoolFaceParts): CpuPoolControl {
  const find = (id: number): CpuPool<Vcpu> => {
    const found = pools.find(id)
    if (found === undefined) throw refusal('findPool', -1, { pool: id })
    return found
  }
  return {
    cpuPools: () => pools.list(),
    createCpuPool({ id, scheduler } = {}) {
      const facts: RefusalFacts = {}
      return accepted(pools.create(id, scheduler, facts), 'createCpuPool', facts)
    },
    destroyCpuPool(id) {
      const facts: RefusalFacts = {}
      accepted(pools.destroy(find(id), facts), 'destroyCpuPool', { ...facts, pool: id })
    },
    addPoolCpu(id, cpu) {
      const facts: RefusalFacts = {}
      accepted(pools.addCpu(find(id), cpu, facts), 'addPoolCpu', { ...facts, cpu })
    },
    removePoolCpu(id, cpu) {
      accepted(pools.removeCpu(find(id), cpu), 'removePoolCpu', { cpu, pool: id })
    },
    moveToCpuPool(domid, id) {
      const facts: RefusalFacts = {}
      accepted(pools.move(foundDomain(domains, domid), find(id), facts), 'moveToCpuPool', { ...facts, domid, pool: id })
    },
    poolParameters: (id) => find(id).scheduler.globalParameters(),
    setPoolParameters(id, values) {
      const told: Told = {}
      accepted(pools.setParameters(find(id), values, told), 'setPoolParameters', { ...told.fault })
    },
  }
}
