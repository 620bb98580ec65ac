/** The schedulers there are, by the names Xen's `sched=` option gives them. */

/** Names of all schedulers, the default first. */
export const SCHEDULER_NAMES = ['credit2', 'credit', 'rtds', 'null', 'round-robin'] as const

/** One of {@link SCHEDULER_NAMES}. */
export type SchedulerName = (typeof SCHEDULER_NAMES)[number]
