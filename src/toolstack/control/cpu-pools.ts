/**
 * Pools of physical CPUs as tools see them: a host's list, and a handle for each.
 * Reference: xl(1), "cpupool-create" and those behind it; tools/libs/light/libxl_cpupool.c.
 */
import type { CpuPoolInfo } from '../../hypervisor/index.ts'
import { anything, checkOptions, isInstance, readRecord, record, text, tryRead, XenError } from '../../util/index.ts'
import { parseCpuList } from '../config/cpu-list.ts'
import { findPool, poolName, removePoolNodes, writePoolName, writePoolNodes } from '../domains/cpu-pool-nodes.ts'
import { randomUuid } from '../domains/random-names.ts'
import type { ControlSeat } from './control-seat.ts'

/** How a pool is made. */
export interface CpuPoolOptions {
  /** Unique on its host. Default: `Pool-` and its number. */
  readonly name?: string | undefined
  /** CPUs that are in no pool: numbers, or a list as `2-3`. Default: the lowest one that is free, as xl has it. */
  readonly cpus?: string | readonly number[] | undefined
  /** Default: that of pool 0. */
  readonly scheduler?: string | undefined
  /** Parameters of its scheduler as a whole. */
  readonly parameters?: Readonly<Record<string, number>> | undefined
}

/** Names a pool: by its number, its name, or its handle. */
export type CpuPoolReference = number | string | CpuPool

const NAME = /^[^/\u0000-\u001f]{1,200}$/

function checkName(seat: ControlSeat, name: string): void {
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw new XenError('INVALID_ARGUMENT', 'the name of a pool of CPUs has 1 to 200 characters, no slash', { details: { name } })
  }
  const taken = seat.control.cpuPools().some(({ id }) => poolName(seat.store, id) === name)
  if (taken) throw new XenError('POOL_EXISTS', `a pool of CPUs named ${name} exists already`, { details: { pool: name } })
}

/** Makes the handle of a pool; {@link CpuPools} and domains do. */
export let openCpuPool: (seat: ControlSeat, id: number) => CpuPool

/** Makes the pools of a host; `seat` is asked anew for each call: a host that was brought back has another one. */
export let openCpuPools: (seat: () => ControlSeat) => CpuPools

/** One pool of a host's CPUs. It shows what is so now; a pool that is gone says POOL_NOT_FOUND. */
export class CpuPool {
  readonly id: number
  private readonly seat: ControlSeat

  static {
    openCpuPool = (seat, id) => new CpuPool(seat, id)
  }

  private constructor(seat: ControlSeat, id: number) {
    this.seat = seat
    this.id = id
  }

  /** Unique on its host. */
  get name(): string {
    return poolName(this.seat.store, this.info().id)
  }

  /** Name of its scheduler. */
  get scheduler(): string {
    return this.info().scheduler
  }

  /** Its CPUs, ascending. */
  get cpus(): readonly number[] {
    return this.info().cpus
  }

  /** Numbers of the domains that run on them. */
  get domains(): readonly number[] {
    return this.info().domains
  }

  /** Parameters of its scheduler as a whole: `ratelimit` (microseconds), `tslice` (milliseconds, credit), `slice` (microseconds, round-robin). */
  parameters(): Readonly<Record<string, number>> {
    return this.seat.control.poolParameters(this.id)
  }

  /** Changes some of them. Throws INVALID_ARGUMENT for what the scheduler does not take. */
  setParameters(values: Readonly<Record<string, number>>): void {
    const given = readRecord('the parameters of a pool', values)
    this.change('setParameters', [given], 'parameters', () => this.seat.control.setPoolParameters(this.id, given))
  }

  /** Gives it another name. Throws POOL_EXISTS, INVALID_ARGUMENT. */
  rename(name: string): void {
    this.change('rename', [name], 'renamed', () => {
      const { id } = this.info()
      checkName(this.seat, name)
      writePoolName(this.seat.store, id, name)
    })
  }

  /** Adds CPUs that are in no pool. Throws BUSY where one is in another; those before it have been added then. */
  addCpus(cpus: string | readonly number[]): void {
    this.change('addCpus', [cpus], 'cpus', () => {
      for (const cpu of cpusOf(this.seat, cpus)) this.seat.control.addPoolCpu(this.id, cpu)
    })
  }

  /** Takes CPUs away, which idle until they are in a pool again. Throws BUSY for the last one of a pool with domains. */
  removeCpus(cpus: string | readonly number[]): void {
    this.change('removeCpus', [cpus], 'cpus', () => {
      for (const cpu of cpusOf(this.seat, cpus)) this.seat.control.removePoolCpu(this.id, cpu)
    })
  }

  /** Ends it; its CPUs are in no pool then. Throws BUSY while it has domains, INVALID_ARGUMENT for pool 0. */
  destroy(): void {
    this.change('destroy', [], 'destroyed', () => {
      const { control, store } = this.seat
      const { cpus, domains, id } = this.info()
      if (domains.length === 0 && id !== 0) for (const cpu of cpus) control.removePoolCpu(id, cpu)
      control.destroyCpuPool(id)
      removePoolNodes(store, id)
    })
  }

  /** What is shown where a handle is printed. */
  toJSON(): CpuPoolInfo & { readonly name: string } {
    return { ...this.info(), name: this.name }
  }

  /** The same for Node's `console.log`. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `CpuPool ${JSON.stringify(this)}`
  }

  private info(): CpuPoolInfo {
    return findPool(this.seat, this.id)
  }

  private change(name: string, given: readonly unknown[], change: 'cpus' | 'renamed' | 'parameters' | 'destroyed', act: () => void): void {
    const { seat } = this
    seat.enter({ name: `cpupool.${name}`, arguments: [this.id, ...given] }, () => {
      try {
        act()
      } finally {
        seat.loop.kick()
      }
      seat.emit({ type: 'cpu-pool', pool: this.id, change })
    })
  }
}

/** Numbers of CPUs of this host. */
function cpusOf({ control }: ControlSeat, cpus: string | readonly number[]): readonly number[] {
  if (typeof cpus === 'string') return parseCpuList(cpus, control.hostInfo().physicalCpus)
  const list = tryRead(() => (Array.isArray(cpus) ? [...cpus] : undefined))
  if (list !== undefined) return list
  throw new XenError('INVALID_ARGUMENT', 'CPUs are a list of numbers, or a text such as "0-3"', { details: { value: cpus } })
}

/** All pools of a host. */
export class CpuPools {
  private readonly seat: () => ControlSeat

  static {
    openCpuPools = (seat) => new CpuPools(seat)
  }

  private constructor(seat: () => ControlSeat) {
    this.seat = seat
  }

  /** By number. */
  list(): CpuPool[] {
    const seat = this.seat()
    return seat.control.cpuPools().map(({ id }) => openCpuPool(seat, id))
  }

  /** The pool of this name or number. Throws POOL_NOT_FOUND. */
  find(reference: CpuPoolReference): CpuPool {
    const seat = this.seat()
    return openCpuPool(seat, findPool(seat, isInstance(reference, CpuPool) ? reference.id : reference).id)
  }

  /** CPUs that are in no pool, ascending. */
  get freeCpus(): readonly number[] {
    const { control } = this.seat()
    const taken = new Set(control.cpuPools().flatMap(({ cpus }) => cpus))
    return Array.from({ length: control.hostInfo().physicalCpus }, (_, cpu) => cpu).filter((cpu) => !taken.has(cpu))
  }

  /**
   * Makes a pool. Throws POOL_EXISTS, BUSY for a CPU that is in another pool, INVALID_ARGUMENT; then there is none.
   *
   * @example
   * host.cpupools.find(0).removeCpus('2-3')
   * const fast = host.cpupools.create({ name: 'fast', cpus: '2-3', scheduler: 'null' })
   * domain.moveToPool(fast)
   */
  create(options: CpuPoolOptions = {}): CpuPool {
    const seat = this.seat()
    checkOptions('cpupools.create', options, { name: text, cpus: anything, scheduler: text, parameters: record })
    const { name, scheduler } = options
    const parameters = readRecord('the parameters of a pool', options.parameters ?? {})
    return seat.enter({ name: 'cpupools.create', arguments: [options] }, () => {
      if (name !== undefined) checkName(seat, name)
      const cpus = options.cpus === undefined ? this.freeCpus.slice(0, 1) : cpusOf(seat, options.cpus)
      const id = seat.control.createCpuPool({ scheduler })
      try {
        seat.control.setPoolParameters(id, parameters)
        for (const cpu of cpus) seat.control.addPoolCpu(id, cpu)
      } catch (error) {
        for (const cpu of findPool(seat, id).cpus) seat.control.removePoolCpu(id, cpu)
        seat.control.destroyCpuPool(id)
        throw error
      }
      writePoolNodes(seat.store, id, { name: name ?? `Pool-${id}`, uuid: randomUuid(seat.random) })
      seat.emit({ type: 'cpu-pool', pool: id, change: 'created' })
      return openCpuPool(seat, id)
    })
  }
}
