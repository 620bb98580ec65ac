/**
 * Scheduler parameters as tables: name, limits and default of each, and the one check that they all pass through.
 * Reference: public/domctl.h (xen_domctl_scheduler_op), public/sysctl.h (scheduler_op), xen/common/sched/.
 */
import { XenError } from '../../util/index.ts'
import type { SchedulerParameters } from './types.ts'

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

/** The current values with `changes` applied. Throws INVALID_ARGUMENT for an unknown name or a value out of range. */
export function changed<K extends string>(
  table: ParameterTable<K>, current: Readonly<Record<K, number>>, changes: SchedulerParameters,
): Record<K, number> {
  const result: Record<string, number> = { ...current }
  for (const [name, value] of Object.entries(changes)) {
    const rule = (table as ParameterTable)[name]
    if (rule === undefined) {
      throw new XenError('INVALID_ARGUMENT', `this scheduler has no parameter ${name}`, {
        details: { name, known: Object.keys(table) },
      })
    }
    const inRange = Number.isInteger(value) && value >= rule.min && value <= rule.max
    if (!inRange && rule.also?.includes(value) !== true) {
      const message = `${name} must be a whole number from ${rule.min} to ${rule.max}, got ${value}`
      throw new XenError('INVALID_ARGUMENT', message, {
        details: { name, value, min: rule.min, max: rule.max },
      })
    }
    result[name] = value
  }
  // Only names of the table have been added to the values that were there.
  return result as Record<K, number>
}
