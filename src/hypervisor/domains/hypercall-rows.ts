/**
 * How rows of the hypercall table are written. A family lists its sub-operations by the names of Xen's header, each with
 * its support and with what carries it out; from that come the array that the family's handler dispatches by, prepared
 * once, and what documents and tests are told.
 */
import { ERRNO, type ErrnoName } from '../../abi/index.ts'
import type { HypercallHandler, OperationList, Support } from './hypercall.ts'
import type { Vcpu } from './domain.ts'
import { type Scratch, readInto } from '../memory/guest-access.ts'

/** Sub-operations by name: each name of Xen's header has its row, and there is no other. */
export type Operations<Numbers, Row> = { readonly [Name in keyof Numbers]: Row }

/** A row of a family whose operations take the hypercall's own arguments. */
export interface Operation {
  readonly support: Support
  readonly run: HypercallHandler
}

/** All of it is there. */
export const FULL: Support = { level: 'full' }

/** There is something of it; `missing` says what is not. */
export const partial = (missing: string): Support => ({ level: 'partial', missing })

/** It is refused: `error` for all, or another one for privileged domains. */
export const refused = (error: ErrnoName, why: string, privileged: ErrnoName = error): Support =>
  ({ level: 'refused', error, privileged, why })

/** What the caller gets from an operation that is refused; 0 from another one. */
export function refusalNumber(support: Support, caller: Vcpu): number {
  if (support.level !== 'refused') return 0
  return -ERRNO[caller.owner.privileged ? support.privileged : support.error]
}

/** A row of an operation that is refused whatever its argument. */
export const refuse = (support: Support): Operation => ({ support, run: (caller) => refusalNumber(support, caller) })

/** A row of an operation that is refused once `size` bytes of its argument, the second, could be read. */
export const refuseAfter = (support: Support, scratch: Scratch, size: number): Operation => ({
  support,
  run: (caller, args) =>
    readInto(caller.access, args.address(1), scratch, size) ? refusalNumber(support, caller) : -ERRNO.EFAULT,
})

/** The rows by their numbers, for the family's handler; a number without a row is undefined. */
export function byNumber<Numbers extends Readonly<Record<string, number>>, Row>(
  numbers: Numbers,
  rows: Operations<Numbers, Row>,
): readonly (Row | undefined)[] {
  const flat = new Array<Row | undefined>(Math.max(...Object.values(numbers)) + 1).fill(undefined)
  for (const name of Object.keys(numbers)) flat[numbers[name]!] = rows[name]!
  return flat
}

/** What is told of them. */
export function listed<Numbers extends Readonly<Record<string, number>>>(
  prefix: string,
  numbers: Numbers,
  rows: Operations<Numbers, { readonly support: Support }>,
): OperationList {
  return {
    prefix,
    rows: Object.entries(numbers).map(([name, number]) => ({ name, number, support: rows[name]!.support })),
  }
}

/** The handler of a family whose first argument names the operation; -ENOSYS for a number without a row. */
export function byFirstArgument<Numbers extends Readonly<Record<string, number>>>(
  numbers: Numbers,
  rows: Operations<Numbers, Operation>,
): HypercallHandler {
  const handlers = byNumber(numbers, rows).map((row) => row?.run)
  return (caller, args) => {
    const number = args.low[0]!
    const handler = number < handlers.length ? handlers[number] : undefined
    return handler === undefined ? -ERRNO.ENOSYS : handler(caller, args)
  }
}
