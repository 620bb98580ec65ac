/** The catalogue of faults: every row, by name, and the check of a plan against them. */
import { LAST_DOMID } from '../../abi/index.ts'
import { duration, nearestWord, parseDuration, real, shown, text, whole, XenError, type Check, type Duration } from '../../util/index.ts'
import { DEVICE_FAULTS } from './device-faults.ts'
import type { FaultParameter, FaultRow } from './fault-row.ts'
import type { FaultParameters, FaultPlan, FaultSpec } from './fault-spec.ts'
import { HYPERVISOR_FAULTS, operationNumber } from './hypervisor-faults.ts'
import { MACHINE_FAULTS } from './machine-faults.ts'
import { RING_FAULTS } from './ring-faults.ts'
import { STORE_FAULTS } from './store-faults.ts'

/** Every fault that there is. */
export const FAULTS: readonly FaultRow[] = [...HYPERVISOR_FAULTS, ...RING_FAULTS, ...STORE_FAULTS, ...DEVICE_FAULTS, ...MACHINE_FAULTS]

const BY_NAME: ReadonlyMap<string, FaultRow> = /* @__PURE__ */ new Map(FAULTS.map((row) => [row.name, row]))

const time = duration()
const TRIGGERS: Readonly<Record<string, Check>> = {
  domain: (value) => (text(value) === undefined || whole(0, LAST_DOMID)(value) === undefined ? undefined : `must be a domain's number or name, got ${shown(value)}`),
  nth: whole(1, 1e12), count: whole(1, 1e12), probability: real(0, 1), after: time, until: time, every: duration({ least: 1000 }),
  symbol: text, when: (value) => (typeof value === 'function' ? undefined : `must be a function, got ${shown(value)}`),
}

/** Seams at which a vCPU of a guest is at work, so that its stack tells something. */
const WITH_STACK: ReadonlySet<string> = new Set(['hypercall', 'event', 'grant', 'allocation'])

/** Whether a guest's stack tells something where a fault comes between. */
export const hasStack = ({ seam }: FaultRow): boolean => WITH_STACK.has(seam)

const refuse = (message: string, details: Readonly<Record<string, unknown>>): never => {
  throw new XenError('INVALID_ARGUMENT', message, { details })
}

/** The row of a name. Throws INVALID_ARGUMENT, with the nearest that there is. */
export function faultRow(name: unknown): FaultRow {
  const row = typeof name === 'string' ? BY_NAME.get(name) : undefined
  if (row !== undefined) return row
  const nearest = typeof name === 'string' ? nearestWord(name, [...BY_NAME.keys()]) : undefined
  return refuse(`there is no fault ${shown(name)}${nearest === undefined ? `; there are ${[...BY_NAME.keys()].join(', ')}` : `; did you mean "${nearest}"?`}`, { fault: name, nearest })
}

function checkTriggers(spec: FaultSpec, row: FaultRow): void {
  for (const [name, check] of Object.entries(TRIGGERS)) {
    const wrong = spec[name] === undefined ? undefined : check(spec[name])
    if (wrong !== undefined) refuse(`fault ${row.name}: ${name} ${wrong}`, { fault: row.name, key: name, value: spec[name] })
  }
  if (row.seam === 'time') {
    const [wrong] = ['nth', 'symbol', 'when'].filter((name) => spec[name] !== undefined)
    if (wrong !== undefined) refuse(`fault ${row.name} acts by itself, at a time: it takes after, every and count, not ${wrong}`, { fault: row.name, key: wrong })
    if (spec.every === undefined && (spec.count ?? 1) > 1) refuse(`fault ${row.name}: count ${spec.count} wants every, the time between two`, { fault: row.name, key: 'count' })
  } else if (spec.every !== undefined) refuse(`fault ${row.name} comes when there is an opportunity: it has no every`, { fault: row.name, key: 'every' })
  if (spec.symbol !== undefined && !hasStack(row)) refuse(`fault ${row.name}: no guest is at work there, so that no symbol is known`, { fault: row.name, key: 'symbol' })
  const [after, until] = [parseDuration(spec.after ?? 0, 'after'), parseDuration(spec.until ?? Infinity, 'until', { most: Infinity })]
  if (until <= after) refuse(`fault ${row.name}: until is not behind after`, { fault: row.name, key: 'until' })
}

function valueOf(spec: FaultSpec, row: FaultRow, parameter: FaultParameter): number | string | undefined {
  const { name, check, isDuration, otherwise, isOptional } = parameter
  const given = spec[name]
  if (given === undefined) {
    if (otherwise === undefined && isOptional !== true) refuse(`fault ${row.name} wants ${name}: ${parameter.text}`, { fault: row.name, key: name })
    return otherwise
  }
  const wrong = check(given)
  if (wrong !== undefined) refuse(`fault ${row.name}: ${name} ${wrong}`, { fault: row.name, key: name, value: given })
  // The check has passed.
  return isDuration === true ? parseDuration(given as Duration, name) : given as number | string
}

/** A rule's parameters, with those that were left out. Throws INVALID_ARGUMENT for a fault, a trigger or a parameter that there is not, or that cannot be. */
export function parametersOf(spec: FaultSpec): FaultParameters {
  if (typeof spec !== 'object' || spec === null) refuse(`a fault must be an object, got ${shown(spec)}`, { value: spec })
  const row = faultRow(spec.fault)
  const known = ['fault', ...Object.keys(TRIGGERS), ...row.parameters.map(({ name }) => name)]
  const unknown = Object.keys(spec).find((key) => !known.includes(key))
  if (unknown !== undefined) {
    const nearest = nearestWord(unknown, known)
    refuse(`fault ${row.name} has no ${unknown}${nearest === undefined ? `; it has ${known.slice(1).join(', ')}` : `; did you mean ${nearest}?`}`, { fault: row.name, key: unknown, nearest })
  }
  checkTriggers(spec, row)
  const parameters = Object.fromEntries(row.parameters.map((parameter) => [parameter.name, valueOf(spec, row, parameter)]))
  if (row.name === 'hypercall-error' && parameters['operation'] !== undefined) operationNumber(String(parameters['hypercall']), String(parameters['operation']))
  const wantsDomain = row.seam === 'time' && !['back-end-restarted', 'service-killed'].includes(row.name)
  if (wantsDomain && spec.domain === undefined) refuse(`fault ${row.name} wants a domain`, { fault: row.name, key: 'domain' })
  return parameters
}

/** Checks a plan. Throws INVALID_ARGUMENT, naming what is wrong. */
export function checkFaults(plan: FaultPlan): void {
  if (!Array.isArray(plan)) refuse(`a plan of faults must be a list, got ${shown(plan)}`, { value: plan })
  for (const spec of plan) parametersOf(spec)
}
