/**
 * Scheduler parameters as tables: name, limits and default of each, and the one check that they all pass through.
 * Reference: public/domctl.h (xen_domctl_scheduler_op), public/sysctl.h (scheduler_op), xen/common/sched/.
 */
import { shown, XenError } from '../../util/index.ts'
import type { SchedulerFault, SchedulerParameters } from './types.ts'

/** One parameter. */
export interface ParameterRule {
  readonly min: number
  readonly max: number
  readonly default: number
  /** Other values that are right beside the range. */
  readonly also?: readonly number[]
}

/** Parameters by name. */
export type ParameterTable<K extends string = string> = Readonly<Record<K, ParameterRule>>

/** All parameters at their defaults. */
export function defaults<K extends string>(table: ParameterTable<K>): Record<K, number> {
  const entries = Object.entries<ParameterRule>(table).map(([name, rule]) => [name, rule.default] as const)
  return Object.fromEntries(entries) as Record<K, number>
}

/** What is wrong with `changes`: a name that the table has not, or a value out of range; undefined when nothing is. */
export function faultOf(table: ParameterTable, changes: SchedulerParameters): SchedulerFault | undefined {
  for (const [name, value] of Object.entries(changes)) {
    const rule = table[name]
    if (rule === undefined) {
      return { message: `this scheduler has no parameter ${name}`, details: { name, known: Object.keys(table) } }
    }
    const { min, max } = rule
    const inRange = Number.isInteger(value) && value >= min && value <= max
    if (!inRange && rule.also?.includes(value) !== true) {
      const message = `${name} must be a whole number from ${min} to ${max}, got ${shown(value)}`
      return { message, details: { name, value, min, max } }
    }
  }
  return undefined
}

/** Throws INVALID_ARGUMENT for a fault. */
export function throwFault(fault: SchedulerFault | undefined): void {
  if (fault !== undefined) throw new XenError('INVALID_ARGUMENT', fault.message, { details: fault.details })
}

/** The current values with `changes` applied. Throws INVALID_ARGUMENT for an unknown name or a value out of range. */
export function changed<K extends string>(
  table: ParameterTable<K>, current: Readonly<Record<K, number>>, changes: SchedulerParameters,
): Record<K, number> {
  throwFault(faultOf(table, changes))
  // Only names of the table are added to the values that were there.
  return { ...current, ...changes } as Record<K, number>
}
