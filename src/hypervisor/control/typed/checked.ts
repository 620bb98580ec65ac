/**
 * What the calls of the control interface may be given, by the kinds of their arguments: one table, which the compiler keeps whole. What an
 * argument of the right kind means, and whether there is a domain or a pool of that number, is the faces' own question.
 */
import { byteArray, callable, type Check, checkArgument, flag, list, listOf, oneOf, record, setOf, shown, text, whole } from '../../../util/index.ts'
import type { ControlInterface } from './control-interface.ts'

/** Calls that are made too often to be looked at, and get nothing that could be wrong; `createDomain` has a table of its own. */
type Unchecked =
  | 'run' | 'isStanding' | 'executedInstructions' | 'isQuiet' | 'listDomains' | 'endedDomains' | 'hostInfo' | 'consoleRoom' | 'hypercallCounts' | 'cpuPools' | 'createDomain' | 'events' | 'random'

/** A kind of argument, by the name that it is refused under. */
interface Argument {
  readonly name: string
  readonly accepts: Check
  readonly isOptional?: true
}

const kind = (accepts: (value: unknown) => boolean, message: string): Check => (value) => (accepts(value) ? undefined : `${message}, got ${shown(value)}`)
const anyNumber = kind((value) => typeof value === 'number', 'must be a number')
const big = kind((value) => typeof value === 'bigint', 'must be a bigint')
const frameList = kind((value) => value instanceof Uint32Array, 'must be a Uint32Array')
/** An object with such fields; those that may be absent may be undefined. One that is all of those has no others: they are options. */
const fields = (table: Readonly<Record<string, Check>>, absent: Readonly<Record<string, Check>> = {}): Check => (value) => {
  const wrong = record(value)
  if (wrong !== undefined) return wrong
  const given = value as Readonly<Record<string, unknown>>
  const unknown = Object.keys(table).length > 0 ? undefined : Object.keys(given).find((key) => !Object.hasOwn(absent, key))
  if (unknown !== undefined) return `has no ${unknown}: it has ${Object.keys(absent).join(', ')}`
  for (const [name, accepts] of [...Object.entries(table), ...Object.entries(absent).filter(([own]) => given[own] !== undefined)]) {
    const fault = accepts(given[name])
    if (fault !== undefined) return `has as ${name} what ${fault}`
  }
  return undefined
}

const argument = (name: string, accepts: Check): Argument => ({ name, accepts })
const optional = (name: string, accepts: Check): Argument => ({ name, accepts, isOptional: true })

/** Any number of a domain: who has none is told DOMAIN_NOT_FOUND. */
const DOMAIN: Argument = { name: 'a domain', accepts: () => undefined }
/** The same for POOL_NOT_FOUND. */
const POOL: Argument = { name: 'a pool', accepts: () => undefined }
const number = (name: string): Argument => argument(name, anyNumber)
const VCPU = number('a vCPU')
const FRAME = number('a frame')
const FRAMES = argument('frames', frameList)
const BYTES = argument('bytes', byteArray)
/** Read here once: where a field of theirs throws, it does so before anything has happened. */
const PARAMETERS = argument('parameters', (value) => record({ ...value as object }) ?? record(value))
const watched = fields({ space: oneOf('linear', 'physical'), address: anyNumber, length: whole(1, 65_536), kind: oneOf('read', 'write', 'access') })
const hooks = fields({}, {
  instruction: callable, memory: callable, exception: callable, breakpoints: setOf(anyNumber), breakpoint: callable, watchpoints: listOf(watched), watchpoint: callable,
})
const cpus = listOf(anyNumber)
const msrs = listOf(fields({ index: anyNumber, value: big }))
const tsc = { mode: anyNumber, kilohertz: anyNumber, nanoseconds: big, incarnation: anyNumber }
const entry = fields({ address: big, selector: anyNumber, masksEvents: flag })
const segments = { flags: anyNumber, user: record, fpu: byteArray, traps: list, gdtFrames: list, debug: list, ldtBase: big, kernelSp: big, cr0: big, cr4: big }

const ARGUMENTS: { readonly [Call in Exclude<keyof ControlInterface, Unchecked>]: readonly Argument[] } = {
  // Domains
  destroyDomain: [DOMAIN], getTscInfo: [DOMAIN], setTscInfo: [DOMAIN, argument('a time-stamp counter', fields(tsc))], dismantleDomain: [DOMAIN], pauseDomain: [DOMAIN], unpauseDomain: [DOMAIN], crashReport: [DOMAIN], softResetDomain: [DOMAIN],
  domainInfo: [DOMAIN], hasDomain: [DOMAIN], shutdownDomain: [DOMAIN, number('a reason')], setTimeOffset: [DOMAIN, number('seconds')],
  resumeDomain: [DOMAIN, optional('a result', anyNumber)], getHvmParam: [DOMAIN, number('a parameter')],
  setHvmParam: [DOMAIN, number('a parameter'), argument('its value', big)], getHvmContext: [DOMAIN], setHvmContext: [DOMAIN, BYTES],
  // Memory
  setMaxPages: [DOMAIN, number('pages')], claimPages: [DOMAIN, number('pages')],
  populatePhysmap: [DOMAIN, number('a count'), optional('the first frame number', anyNumber)], releaseFrames: [DOMAIN, argument('frames', listOf(anyNumber))],
  setMachineToPhys: [DOMAIN, FRAME, number('its number')], machineToPhys: [FRAME], framePfns: [FRAMES], domainFrames: [DOMAIN], frameInfo: [FRAME], frameBytes: [DOMAIN, FRAME],
  markWritten: [FRAME], frameKinds: [DOMAIN, FRAMES], blankFrames: [DOMAIN, FRAMES], readFrames: [DOMAIN, FRAMES, BYTES], writeFrames: [DOMAIN, FRAMES, BYTES],
  pinTable: [DOMAIN, FRAME, number('a level')], unpinTable: [DOMAIN, FRAME], writeHypercallPage: [DOMAIN, FRAME],
  setMemoryMap: [DOMAIN, argument('a memory map', listOf(fields({ address: anyNumber, size: anyNumber, type: anyNumber })))],
  mapForeign: [DOMAIN, FRAME], unmapForeign: [DOMAIN, FRAME], frameOfGfn: [DOMAIN, FRAME], highestGfn: [DOMAIN],
  memoryGfns: [DOMAIN], memoryAt: [DOMAIN, argument('frame numbers', frameList)],
  populateOnDemand: [DOMAIN, number('a count'), number('the first frame number')], onDemandGfns: [DOMAIN], setOnDemandTarget: [DOMAIN, number('pages')],
  enableLogDirty: [DOMAIN], disableLogDirty: [DOMAIN], readLogDirty: [DOMAIN, optional('options', fields({}, { clear: flag }))],
  // vCPUs
  prepareVcpu: [DOMAIN, VCPU], setVcpuContext: [DOMAIN, VCPU, argument('a context', fields(segments))], getVcpuContext: [DOMAIN, VCPU], getCpuPolicy: [DOMAIN],
  setCpuPolicy: [DOMAIN, argument('a CPU policy', fields({ cpuid: listOf(record), msrs }))], getVcpuMsrs: [DOMAIN, VCPU],
  setVcpuMsrs: [DOMAIN, VCPU, argument('registers', msrs)], getVcpuExtendedState: [DOMAIN, VCPU], setVcpuExtendedState: [DOMAIN, VCPU, BYTES],
  getVcpuEntries: [DOMAIN, VCPU], setVcpuEntries: [DOMAIN, VCPU, argument('entries', fields({ syscall32: entry, sysenter: entry }))],
  offeredState: [DOMAIN], startVcpu: [DOMAIN, VCPU],
  inspectVcpu: [DOMAIN, VCPU], traceVcpu: [DOMAIN, VCPU, argument('hooks', hooks)], profileVcpus: [DOMAIN],
  sendNmi: [DOMAIN, VCPU], vcpuInfo: [DOMAIN, VCPU], schedulerParameters: [DOMAIN, optional('a vCPU', anyNumber)],
  setSchedulerParameters: [DOMAIN, PARAMETERS, optional('a vCPU', anyNumber)], affinity: [DOMAIN, VCPU],
  setAffinity: [DOMAIN, VCPU, argument('an affinity', fields({}, { hard: cpus, soft: cpus }))], translate: [DOMAIN, argument('an address', big)],
  // Event channels and grants
  allocUnbound: [DOMAIN, number('the other domain')], closePort: [DOMAIN, number('a port')], sendEvent: [DOMAIN, number('a port')],
  listPorts: [DOMAIN], listGrants: [DOMAIN], sendVirq: [DOMAIN, number('a VIRQ'), optional('a vCPU', anyNumber)],
  seedGrant: [DOMAIN, number('a grant'), argument('an entry', fields({ remote: anyNumber, frame: anyNumber }))], port: [DOMAIN],
  // The host and its pools
  allows: [argument('an operation', text), optional('a domain', anyNumber)],
  readConsole: [optional('options', fields({}, { clear: flag }))], log: [argument('lines', listOf(text))], typeConsole: [BYTES],
  createCpuPool: [optional('options', fields({}, { id: anyNumber, scheduler: text }))], destroyCpuPool: [POOL], addPoolCpu: [POOL, number('a CPU')],
  removePoolCpu: [POOL, number('a CPU')], moveToCpuPool: [DOMAIN, POOL], poolParameters: [POOL], setPoolParameters: [POOL, PARAMETERS],
}

type AnyCall = (...given: unknown[]) => unknown

/** One call with its arguments looked at first. No call has more than three. */
function checkedCall(call: AnyCall, wanted: readonly Argument[]): AnyCall {
  const [first, second, third] = wanted
  const check = ({ name, accepts, isOptional }: Argument, value: unknown): void => {
    if (isOptional !== true || value !== undefined) checkArgument(name, value, accepts)
  }
  return (one, two, three) => {
    if (first !== undefined) check(first, one)
    if (second !== undefined) check(second, two)
    if (third !== undefined) check(third, three)
    return call(one, two, three)
  }
}

/**
 * Gives an object the calls of a face; one that is given what is of no right kind throws INVALID_ARGUMENT, and nothing has happened. hot path: a
 * hundred calls of each hypervisor that is made, which is of every branch of a moment; so they go where they stay.
 */
export function giveChecked(owner: object, face: Partial<ControlInterface>): void {
  const target = owner as Record<string, unknown>
  for (const name in face) {
    const call: unknown = face[name as keyof ControlInterface]
    const wanted: readonly Argument[] | undefined = (ARGUMENTS as Readonly<Record<string, readonly Argument[]>>)[name]
    target[name] = wanted === undefined || typeof call !== 'function' ? call : checkedCall(call as AnyCall, wanted)
  }
}
