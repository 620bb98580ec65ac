/** The numbers by which the tools' interfaces name schedulers. Reference: xen/include/public/domctl.h, XEN_SCHEDULER_*. */
import { SCHEDULER } from '../../../abi/index.ts'
import type { SchedulerName } from '../../scheduler/index.ts'

/** `round-robin` is this library's own, and has the number of none of Xen's. */
const NUMBERS: Readonly<Record<SchedulerName, number>> = {
  credit: SCHEDULER.CREDIT, credit2: SCHEDULER.CREDIT2, rtds: SCHEDULER.RTDS, null: SCHEDULER.NULL, 'round-robin': 0,
}

/** The number of a scheduler. */
export const schedulerNumber = (name: SchedulerName): number => NUMBERS[name]

/** The scheduler of a number; undefined where there is none. */
export const schedulerOfNumber = (number: number): SchedulerName | undefined =>
  (Object.keys(NUMBERS) as SchedulerName[]).find((name) => NUMBERS[name] === number)
