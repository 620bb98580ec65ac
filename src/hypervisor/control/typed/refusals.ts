/**
 * What the typed control interface throws where the number-returning core refuses: one table from operation and error
 * number to code and sentence, and the one place that throws by it. The details of an error are what its sentence names,
 * and the further facts of its row.
 */
import { DOMID, ERRNO } from '../../../abi/index.ts'
import { named, tryRead, XenError, type XenErrorCode, type XenErrorDetails } from '../../../util/index.ts'

/** What is known of a call: its arguments, and what the core has told of why it refused. */
export type Facts = Readonly<Record<string, unknown>>

/** One way in which an operation is refused. */
interface Refusal {
  /** Error number that the core answers with, without its sign; absent: any. */
  readonly errno?: number
  /** Where one number stands for several causes: the one that the core has named, the fact `cause`. */
  readonly cause?: string
  readonly code: XenErrorCode
  /** The sentence, with facts in braces. */
  readonly says: string
  /** Names of facts that go into the details beside those in the sentence. */
  readonly more?: readonly string[]
  /** The details are those that the core has told, the fact `details`. */
  readonly told?: true
}

const { EEXIST, EINVAL, ENOMEM, EOPNOTSUPP, EOVERFLOW, EPERM, ESRCH } = ERRNO

const NOT_ITS_FRAME = { code: 'PERMISSION_DENIED', says: 'frame {frame} does not belong to domain {domid}' } as const
const IN_USE_AS_TABLE = { code: 'INVALID_STATE', says: 'frame {frame} of domain {domid} is in use as a table' } as const
const CANNOT_NOTE_WRITES = { code: 'NOT_SUPPORTED', says: 'this host\'s memory cannot note writes' } as const
const NO_REGISTERS = { code: 'INVALID_STATE', says: 'vCPU {vcpu} of domain {domid} has no registers' } as const
const NOT_TRANSLATED = { cause: 'untranslated', code: 'INVALID_STATE', says: 'domain {domid} has no physical map of its own' } as const
const FAILED = { code: 'HYPERCALL_FAILED', says: '{call} for domain {domid} failed with {result}' } as const
/** The scheduler itself says what it does not take. */
const NOT_SCHEDULABLE = { code: 'INVALID_ARGUMENT', says: '{message}', told: true } as const

/** Every operation that can be refused, and how: the first row that fits. */
const REFUSALS = {
  find: [{ code: 'DOMAIN_NOT_FOUND', says: 'there is no domain {domid}' }],
  findVcpu: [{ code: 'INVALID_ARGUMENT', says: 'domain {domid} has no vCPU {vcpu}' }],
  createDomain: [
    { errno: EEXIST, code: 'DOMAIN_EXISTS', says: 'domain {domid} exists' },
    { cause: 'vcpus', code: 'INVALID_ARGUMENT', says: 'a domain has 1 to {most} vCPUs, got {vcpus}' },
    { cause: 'number', code: 'INVALID_ARGUMENT', says: `a domain's number is 0 to ${DOMID.FIRST_RESERVED - 1}, got {domid}` },
    { cause: 'runner', code: 'INVALID_ARGUMENT', says: 'a guest in TypeScript needs createRunner' },
    { cause: 'numbers', code: 'OUT_OF_RESOURCES', says: 'no domain number is free, or {domid} is reserved' },
    {
      cause: 'processors', code: 'OUT_OF_RESOURCES',
      says: '{vcpus} vCPUs need as many processors, and the host has {free} left',
    },
    { cause: 'grants', code: 'OUT_OF_MEMORY', says: 'no frame for the grant table of domain {domid}' },
    { cause: 'shared_info', code: 'OUT_OF_MEMORY', says: 'no frame for a domain\'s shared_info', more: ['domid'] },
    { cause: 'kind', code: 'INVALID_ARGUMENT', says: 'there is no kind of guest {kind}: a host has {kinds}' },
  ],
  pauseDomain: [{ errno: EOVERFLOW, code: 'INVALID_STATE', says: 'domain {domid} is paused as often as can be counted' }],
  unpauseDomain: [{ code: 'INVALID_STATE', says: 'domain {domid} is not paused' }],
  resumeDomain: [{ code: 'INVALID_STATE', says: 'domain {domid} has not shut down' }],
  softResetDomain: [
    { cause: 'kind', code: 'NOT_SUPPORTED', says: 'domain {domid} is of a kind of guests that has no soft reset' },
    { cause: 'running', code: 'INVALID_STATE', says: 'domain {domid} has not shut down' },
    { code: 'OUT_OF_MEMORY', says: 'there is no frame to take the place of domain {domid}\'s shared_info' },
  ],
  setTimeOffset: [{ code: 'INVALID_ARGUMENT', says: 'a wall clock is ahead or behind by whole seconds, got {seconds}' }],
  setMaxPages: [{ code: 'INVALID_ARGUMENT', says: 'a limit of {pages} pages makes no sense' }],
  claimPages: [
    { errno: ENOMEM, code: 'OUT_OF_MEMORY', says: '{pages} pages cannot be claimed for domain {domid}: it has {totalPages}, and there is room for {free}' },
    {
      code: 'INVALID_ARGUMENT', more: ['outstanding', 'totalPages', 'maxPages'],
      says: '{pages} pages cannot be claimed for domain {domid}: it has a claim, has as many already, or may not have so many',
    },
  ],
  populatePhysmap: [{
    code: 'OUT_OF_MEMORY', says: '{wanted} pages for domain {domid}: there is room for {room}', more: ['free', 'maxPages'],
  }],
  populateOnDemand: [NOT_TRANSLATED, {
    code: 'INVALID_STATE', says: '{count} frames of domain {domid} from {firstGfn} on cannot come on demand', more: ['result'],
  }],
  setOnDemandTarget: [NOT_TRANSLATED, { code: 'OUT_OF_MEMORY', says: 'there is no room for {pages} pages of domain {domid}' }],
  getHvmParam: [NOT_TRANSLATED, { code: 'INVALID_ARGUMENT', says: 'domain {domid} has no parameter {index}', more: ['result'] }],
  setHvmParam: [NOT_TRANSLATED, {
    code: 'INVALID_ARGUMENT', says: 'parameter {index} of domain {domid} does not take {value}', more: ['result'],
  }],
  getHvmContext: [NOT_TRANSLATED],
  setHvmContext: [NOT_TRANSLATED, {
    code: 'INVALID_ARGUMENT', says: 'domain {domid} cannot have this context of {bytes} bytes', more: ['result'],
  }],
  frameInfo: [{ code: 'INVALID_ADDRESS', says: 'the host has no frame {frame}' }],
  frameBytes: [NOT_ITS_FRAME],
  readFrames: [NOT_ITS_FRAME],
  writeFrames: [
    { cause: 'length', code: 'INVALID_ARGUMENT', says: '{bytes} bytes do not fill {count} frames' },
    NOT_ITS_FRAME,
  ],
  setMachineToPhys: [NOT_ITS_FRAME],
  pinTable: [{
    code: 'INVALID_STATE', says: 'frame {frame} of domain {domid} cannot be pinned as a table of level {level}', more: ['result'],
  }],
  unpinTable: [{ code: 'INVALID_STATE', says: 'frame {frame} of domain {domid} is not pinned', more: ['result'] }],
  writeHypercallPage: [
    { errno: EPERM, ...IN_USE_AS_TABLE },
    { errno: EOPNOTSUPP, code: 'NOT_SUPPORTED', says: 'domain {domid} makes hypercalls by no page' },
    NOT_ITS_FRAME,
  ],
  setMemoryMap: [{ code: 'INVALID_ARGUMENT', says: 'a memory map of {ranges} ranges is too long for domain {domid}' }],
  mapForeign: [{ cause: 'table', ...IN_USE_AS_TABLE }, NOT_ITS_FRAME],
  unmapForeign: [{ code: 'INVALID_STATE', says: 'frame {frame} of domain {domid} is not mapped' }],
  enableLogDirty: [CANNOT_NOTE_WRITES],
  disableLogDirty: [CANNOT_NOTE_WRITES],
  readLogDirty: [
    { errno: EINVAL, code: 'INVALID_STATE', says: 'writes of domain {domid} are not noted' },
    CANNOT_NOTE_WRITES,
  ],
  prepareVcpu: [
    { errno: EOPNOTSUPP, code: 'NOT_SUPPORTED', says: 'this host has no processors for binary guests', more: ['domid'] },
    { errno: ENOMEM, code: 'OUT_OF_RESOURCES', says: 'all processors of the machine are in use', more: ['domid'] },
    { errno: ESRCH, code: 'INVALID_STATE', says: 'domain {domid} is dying' },
    { code: 'INVALID_STATE', says: 'domain {domid} has no registers: it is written in TypeScript' },
  ],
  setVcpuContext: [{
    code: 'INVALID_ARGUMENT', says: 'vCPU {vcpu} of domain {domid} cannot have this context', more: ['result'],
  }],
  getVcpuContext: [NO_REGISTERS],
  getVcpuMsrs: [NO_REGISTERS],
  setVcpuEntries: [
    { errno: EOPNOTSUPP, code: 'NOT_SUPPORTED', says: 'domain {domid} has no entries for system calls of 32-bit code' },
    { code: 'INVALID_ARGUMENT', says: 'vCPU {vcpu} of domain {domid} cannot be entered at such addresses' },
  ],
  setTscInfo: [{
    code: 'INVALID_ARGUMENT', says: 'there is no time-stamp counter of mode {mode} and {kilohertz} kHz for domain {domid}',
  }],
  setVcpuExtendedState: [
    { errno: EOPNOTSUPP, code: 'NOT_SUPPORTED', says: 'the extended state of vCPU {vcpu} of domain {domid} is compacted' },
    { code: 'INVALID_ARGUMENT', says: 'the extended state of vCPU {vcpu} of domain {domid} is none: {bytes} bytes' },
  ],
  setVcpuMsrs: [
    {
      cause: 'register', code: 'NOT_SUPPORTED', more: ['domid', 'register'],
      says: 'vCPU {vcpu} uses {feature} register {name}, which this host does not offer',
    },
    { code: 'INVALID_ARGUMENT', says: 'register {name} of vCPU {vcpu} has 32 bits', more: ['domid'] },
  ],
  startVcpu: [{
    code: 'INVALID_STATE', says: 'domain {domid} is not written in TypeScript; give its vCPU a context',
  }],
  sendNmi: [{ code: 'NOT_SUPPORTED', says: 'domain {domid} knows no non-maskable interrupts' }],
  traceVcpu: [NO_REGISTERS], inspectVcpu: [NO_REGISTERS],
  profileVcpus: [NO_REGISTERS],
  setAffinity: [NOT_SCHEDULABLE],
  schedulerParameters: [NOT_SCHEDULABLE],
  setSchedulerParameters: [NOT_SCHEDULABLE],
  findPool: [{ code: 'POOL_NOT_FOUND', says: 'there is no pool of CPUs {pool}' }],
  createCpuPool: [
    { cause: 'scheduler', code: 'INVALID_ARGUMENT', says: 'there is no scheduler {scheduler}: a host has {schedulers}' },
    { cause: 'number', code: 'INVALID_ARGUMENT', says: 'the number of a pool is 1 to {most}, got {pool}' },
    { errno: EEXIST, code: 'POOL_EXISTS', says: 'a pool of CPUs {pool} exists already' },
    { code: 'OUT_OF_RESOURCES', says: 'a host has at most {most} pools of CPUs' },
  ],
  destroyCpuPool: [
    { cause: 'first', code: 'INVALID_ARGUMENT', says: 'pool {pool} is there for as long as the host is' },
    { cause: 'domains', code: 'BUSY', says: 'pool {pool} has domains: {domains}' },
    { code: 'BUSY', says: 'pool {pool} has CPUs: {cpus}' },
  ],
  addPoolCpu: [
    { errno: EINVAL, code: 'INVALID_ARGUMENT', says: 'there is no physical CPU {cpu}' },
    { code: 'BUSY', says: 'physical CPU {cpu} is in pool {in}' },
  ],
  removePoolCpu: [
    { errno: EINVAL, code: 'INVALID_ARGUMENT', says: 'physical CPU {cpu} is not in pool {pool}' },
    { code: 'BUSY', says: 'physical CPU {cpu} is the last one of pool {pool}' },
  ],
  moveToCpuPool: [
    { cause: 'dom0', code: 'INVALID_ARGUMENT', says: 'domain {domid} stays in pool 0' },
    { cause: 'dying', code: 'INVALID_STATE', says: 'domain {domid} is dying' },
    { code: 'INVALID_STATE', says: 'pool {pool} has no CPUs' },
  ],
  setPoolParameters: [NOT_SCHEDULABLE],
  allocUnbound: [FAILED],
  closePort: [FAILED],
  sendEvent: [FAILED],
  seedGrant: [{ code: 'INVALID_ARGUMENT', says: 'domain {domid} has no grant {ref}' }],
} as const satisfies Readonly<Record<string, readonly Refusal[]>>

/** An operation of the control interface that can be refused. */
export type RefusableOperation = keyof typeof REFUSALS

/** What is refused in a way that no row tells, as by a kind of guest that the table does not know. */
const UNTOLD: Refusal = { code: 'HYPERCALL_FAILED', says: '{operation} failed with {result}' }

/** A fact in a sentence; arguments that a caller gave are among them, whatever they are. */
const calledFact = (fact: unknown): string => tryRead(() => (Array.isArray(fact) ? fact.map(named).join(',') : undefined)) ?? named(fact)

/** The error of an operation that the core has answered with a negative `result`. */
export function refusal(operation: RefusableOperation, result: number, facts: Facts): XenError {
  const rows: readonly Refusal[] = REFUSALS[operation]
  const row = rows.find(({ errno, cause }) => (
    (errno === undefined || errno === -result) && (cause === undefined || cause === facts['cause'])
  )) ?? UNTOLD
  const known: Facts = { ...facts, operation, result }
  const named: string[] = []
  const message = row.says.replace(/\{(\w+)\}/g, (_, name: string) => {
    named.push(name)
    return calledFact(known[name])
  })
  const details = row.told === true
    ? (known['details'] as XenErrorDetails) : Object.fromEntries([...named, ...row.more ?? []].map((name) => [name, known[name]]))
  return new XenError(row.code, message, { details })
}

/** What the core has answered, unless it is a negative error number: that is thrown as what it means for the operation. */
export function accepted(answer: number, operation: RefusableOperation, facts: Facts): number
export function accepted<T extends object>(answer: T | number, operation: RefusableOperation, facts: Facts): T
export function accepted<T extends object>(answer: T | number, operation: RefusableOperation, facts: Facts): T | number {
  if (typeof answer === 'number' && answer < 0) throw refusal(operation, answer, facts)
  return answer
}
