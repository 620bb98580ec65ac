/** Faults of clocks, processors and memory, domains that end, and migrations that are cut. */
import { PAGE_SIZE, SHUTDOWN } from '../../abi/index.ts'
import { below, oneOf, XenError, type DomId } from '../../util/index.ts'
import { atSeam, atTime, type FaultContext, type FaultParameter, type FaultRow } from './fault-row.ts'
import { lengthOfTime, optional, realNumber, wholeNumber } from './parameters.ts'

const vcpu: FaultParameter = wholeNumber('vcpu', 'the number of the vCPU', { least: 0, most: 127, otherwise: 0 })

const domainOf = ({ domid }: FaultContext): number => {
  if (domid === undefined) throw new XenError('INVALID_ARGUMENT', 'the fault wants a domain')
  return domid
}

/** Pages that are tried: some are page tables, which nobody writes from outside. */
const TRIES = 100

/** Flips a bit of a frame of the domain's; where it was. */
function flipBit(context: FaultContext, frame: number | undefined): string | undefined {
  const { host: { hypervisor }, random } = context
  const domid = domainOf(context) as DomId
  const frames = hypervisor.domainFrames(domid)
  for (let tries = 0; tries < TRIES && frames.length > 0; tries += 1) {
    const mfn = frames[frame === undefined ? below(random, frames.length) : frame % frames.length]!
    const bit = below(random, PAGE_SIZE * 8)
    try {
      hypervisor.frameBytes(domid, mfn)[bit >>> 3]! ^= 1 << (bit & 7)
    } catch (error) {
      if (!XenError.is(error)) throw error
      continue
    }
    hypervisor.markWritten(mfn)
    return `bit ${bit} of frame ${mfn.toString(16)} of domain ${domid} was flipped`
  }
  return undefined
}

/** Stops a vCPU for its share of each period. */
function throttle(context: FaultContext, { number, share, period, end }: { readonly number: number; readonly share: number; readonly period: number; readonly end: number }): void {
  const release = context.seat.pauseVcpu(domainOf(context), number)
  if (release === undefined) return
  const stopped = Math.round(period * (1 - share))
  context.later(stopped, release)
  if (context.seat.now() + period < end) context.later(period, () => throttle(context, { number, share, period, end }))
}

/** The rows of clocks. */
const CLOCKS: readonly FaultRow[] = [
  atTime({
    name: 'clock-jump', family: 'Clocks', where: "a domain's time, as its time records and its timers have it: it is suddenly later", parameters: [lengthOfTime('by', 'how much', 1e9)],
    peer: 'goes on: what was due is due, nothing happens twice, and nothing is divided by the time that passed',
    act: ({ by }, context) => {
      context.clocks.change(domainOf(context), { by: Number(by) })
      return `the clock of domain ${domainOf(context)} jumped by ${by} ns`
    },
  }),
  atTime({
    name: 'clock-drift', family: 'Clocks', where: "a domain's time: it runs faster or slower from then on", parameters: [realNumber('partsPerMillion', 'how much', { least: -500_000, most: 500_000, otherwise: 1000 })],
    peer: 'corrects its clock where it has another one to hold it against',
    act: ({ partsPerMillion }, context) => {
      context.clocks.change(domainOf(context), { rate: 1 + Number(partsPerMillion) / 1e6 })
      return `the clock of domain ${domainOf(context)} drifts by ${partsPerMillion} parts per million`
    },
  }),
  atTime({
    name: 'clock-slew', family: 'Clocks', where: "a domain's time: it gains or loses so much, little by little", parameters: [realNumber('by', 'nanoseconds that it gains; fewer than 0 are lost', { least: -3600e9, most: 3600e9, otherwise: 1e8 }), lengthOfTime('over', 'within which it does', 1e9)],
    peer: 'notices nothing but that a second is not one',
    act: ({ by, over }, context) => {
      const [gain, time] = [Number(by), Number(over)]
      if (gain <= -time) throw new XenError('INVALID_ARGUMENT', 'clock-slew: a clock cannot lose more than the time that it is slewed over', { details: { by, over } })
      context.clocks.change(domainOf(context), { rate: 1 + gain / time, over: time })
      return `the clock of domain ${domainOf(context)} gains ${by} ns within ${over} ns`
    },
  }),
]

/** The rows of processors and memory. */
const PROCESSORS: readonly FaultRow[] = [
  atTime({
    name: 'vcpu-paused', family: 'Processors', where: 'a vCPU: it does not run for a while', parameters: [vcpu, lengthOfTime('for', 'how long', 1e8)],
    peer: 'the other vCPUs do not wait for it with interrupts off for ever; watchdogs that count seconds may bark',
    act: (parameters, context) => {
      const release = context.seat.pauseVcpu(domainOf(context), Number(parameters['vcpu']))
      if (release === undefined) return undefined
      context.later(Number(parameters['for']), release)
      return `vCPU ${parameters['vcpu']} of domain ${domainOf(context)} stood still for ${parameters['for']} ns`
    },
  }),
  atTime({
    name: 'vcpu-throttled', family: 'Processors', where: 'a vCPU: it runs for a share of each period only',
    parameters: [vcpu, realNumber('share', 'of the time that it runs', { least: 0.01, most: 0.99, otherwise: 0.5 }), lengthOfTime('period', 'in which it runs and stands', 1e7), lengthOfTime('for', 'how long', 1e9)],
    peer: 'is slower, and right',
    act: (parameters, context) => {
      const [number, period] = [Number(parameters['vcpu']), Number(parameters['period'])]
      throttle(context, { number, share: Number(parameters['share']), period, end: context.now + Number(parameters['for']) })
      return `vCPU ${number} of domain ${domainOf(context)} runs for ${parameters['share']} of its time`
    },
  }),
  atTime({
    name: 'memory-flip', family: 'Memory', where: "a frame of a domain's: one bit of it is another one", parameters: [optional(wholeNumber('frame', 'which of its frames; a random one unless given', { least: 0, most: 2 ** 30 }))],
    peer: 'may crash, alone; its host and the other domains notice nothing', act: ({ frame }, context) => flipBit(context, frame as number | undefined),
  }),
]

/** The rows of ends. */
const ENDS: readonly FaultRow[] = [
  atTime({
    name: 'domain-killed', family: 'Ends', where: 'a domain: it crashes, or is gone at once', parameters: [{ name: 'how', text: 'crash or destroy', check: oneOf('crash', 'destroy'), otherwise: 'crash' }],
    peer: 'whoever shares pages, ports or a network with it goes on; its back-ends let everything go; its action at a crash follows',
    act: ({ how }, context) => {
      const { host } = context
      const domid = domainOf(context) as DomId
      if (!host.hypervisor.hasDomain(domid)) return undefined
      if (how === 'crash') host.hypervisor.shutdownDomain(domid, SHUTDOWN.crash)
      else void host.domain(domid).destroy().catch(() => undefined)
      return `domain ${domid} was killed: ${how}`
    },
  }),
  atSeam('migration', {
    name: 'migration-cut', family: 'Ends', where: 'a migration by `migrateBetween` from this host: the pipe is cut', parameters: [wholeNumber('at', 'bytes that are sent before', { least: 0, most: 2 ** 40, otherwise: 1000 })],
    peer: 'exactly one side runs the domain: the source takes it back, unless it cannot know; then it stays suspended there',
    act: ({ domid }, { at }) => ({ effect: Number(at), text: `the migration of domain ${domid} was cut behind ${at} bytes` }),
  }),
]

/** The rows. */
export const MACHINE_FAULTS: readonly FaultRow[] = [...CLOCKS, ...PROCESSORS, ...ENDS]
