/**
 * What a scheduler's saved state looks like, and whether the places in it hold together: each vCPU that can run is on one
 * CPU or in the queue, and none is in two places. What an algorithm's own numbers may be, it says itself.
 */
import { type StateOf, badState, shape } from '../../util/index.ts'
import { SCHEDULER_NAMES } from './names.ts'

const numbers = /* @__PURE__ */ shape.dictionary(shape.number)
const cpus = /* @__PURE__ */ shape.list(shape.word)

const vcpuShape = /* @__PURE__ */ shape.record({
  domid: shape.word, vcpu: shape.word, runnable: shape.flag, hard: cpus, soft: cpus,
  /** Since when it has been running and not yet charged. */
  since: shape.time,
  /** The algorithm's own: credit, budget, deadline ... */
  numbers,
})

/** One vCPU's scheduling state. */
export type SavedVcpu = StateOf<typeof vcpuShape>

const domainShape = /* @__PURE__ */ shape.record({ domid: shape.word, parameters: numbers, numbers })

/** One domain's scheduling state. */
export type SavedDomain = StateOf<typeof domainShape>

/** What a scheduler's saved state looks like. */
export const schedulerShape = /* @__PURE__ */ shape.record({
  kind: /* @__PURE__ */ shape.oneOf(...SCHEDULER_NAMES),
  cpus: shape.word,
  domains: /* @__PURE__ */ shape.list(domainShape),
  vcpus: /* @__PURE__ */ shape.list(vcpuShape),
  /** What the CPUs run, as index into `vcpus`, or -1. */
  running: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.whole(-1, 2 ** 24)),
  /** The run queue: indexes into `vcpus`, in order. */
  queue: cpus,
  /** CPUs that the caller has been told to ask and has not asked yet. */
  asked: cpus,
  global: numbers,
  /** The algorithm's own numbers for the host. */
  numbers,
})

/** Saved state of a scheduler. `kind` is its name. */
export type SchedulerState = StateOf<typeof schedulerShape>

/** Refuses a state in which a vCPU is in two places, in none, or where it cannot be. */
export function checkPlaces(state: SchedulerState): void {
  const placed = new Set<number>()
  const take = (index: number): SavedVcpu => {
    const vcpu = state.vcpus[index]
    if (vcpu === undefined || placed.has(index)) throw badState(`vCPU ${index} is nowhere or in two places`)
    placed.add(index)
    return vcpu
  }
  if (state.running.length !== state.cpus) throw badState('it does not say what each CPU runs')
  for (const index of state.running) if (index !== -1) take(index)
  for (const index of state.queue) if (!take(index).runnable) throw badState(`vCPU ${index} waits and cannot run`)
  state.vcpus.forEach(({ runnable }, index) => {
    if (runnable && !placed.has(index)) throw badState(`vCPU ${index} can run and is nowhere`)
  })
}

/** Refuses numbers of an algorithm that are not exactly those that it has. */
export function checkNumbers(own: Readonly<Record<string, number>>, saved: Readonly<Record<string, number>>): void {
  const names = Object.keys(own)
  for (const name of names) {
    if (!Object.hasOwn(saved, name) || !Number.isFinite(saved[name])) throw badState(`it has no number ${name}`)
  }
  if (Object.keys(saved).length !== names.length) throw badState('it has numbers of another algorithm')
}
