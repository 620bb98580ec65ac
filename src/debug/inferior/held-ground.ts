/** Domains of a host that stands as a whole, with its recorded past: everything stops and runs together, forwards and backwards. */
import type { TraceHooks } from '../../machine/index.ts'
import type { Host } from '../../toolstack/index.ts'
import { XenError } from '../../util/index.ts'
import type { RecordedRun } from '../history/recorded-run.ts'
import type { Sought } from '../history/search.ts'
import { Timeline, type TimelineStep } from '../history/timeline.ts'
import { overOf, placeOf, stepKey, Stops, type Ground, type GroundHistory, type GroundRun } from './ground.ts'
import type { Stop } from './stop.ts'

/** The ground of a host whose run is recorded. */
export class HeldGround implements Ground {
  readonly ready: Promise<void>
  readonly goesBack = true
  readonly history: GroundHistory
  private readonly recorded: RecordedRun
  private readonly stops = new Stops()
  private timeline: Timeline | undefined
  private isInterrupted = false
  private isReleased = false

  constructor(recorded: RecordedRun) {
    this.recorded = recorded
    this.ready = this.hold()
    const place = (): number => this.timeline?.instruction ?? recorded.instruction
    this.history = {
      get instruction() { return place() },
      get end() { return recorded.instruction },
      goTo: (instruction) => this.standing().goTo(instruction),
    }
  }

  private async hold(): Promise<void> {
    const timeline = await Timeline.of(this.recorded)
    if (this.isReleased) await timeline.release()
    else this.timeline = timeline
  }

  private standing(): Timeline {
    if (this.timeline === undefined) throw new XenError('INVALID_STATE', 'the host does not stand')
    return this.timeline
  }

  get host(): Host {
    return this.timeline?.host ?? this.recorded.host
  }

  change(apply: (host: Host) => boolean): Promise<boolean> {
    return this.standing().change(apply)
  }

  /** It stands with the host. */
  take(): void {}

  async run(run: GroundRun): Promise<Stop> {
    const next = this.stops.wanted(run.inferiors)
    if (next !== undefined) return next
    const over = (): Stop | undefined => run.inferiors.filter(({ domid }) => run.running.has(domid)).map(overOf).find((stop) => stop !== undefined)
    const before = over()
    if (before !== undefined) return before
    this.isInterrupted = false
    const timeline = this.standing()
    const host = timeline.host
    const isPaused = (): boolean => run.inferiors.every(({ domain }) => domain?.info().paused === true)
    for (const { domain } of run.inferiors) if (domain?.info().paused === true && !timeline.isBack) domain.unpause()
    const arrival = await timeline.forward((domid, vcpu, running) => hooksOf(run, { domid, vcpu, host: running, stops: this.stops }), () => this.isInterrupted || over() !== undefined || isPaused())
    if (timeline.host !== host) for (const inferior of run.inferiors) inferior.moved()
    const place = placeOf(run.inferiors)
    if (arrival.type === 'stopped') return this.stops.first() ?? { type: 'paused', domid: arrival.domid, vcpu: arrival.vcpu }
    return over() ?? { type: this.isInterrupted ? 'interrupt' : 'paused', ...place }
  }

  async back(run: GroundRun, step: TimelineStep | undefined): Promise<Stop> {
    const timeline = this.standing()
    this.stops.clear()
    for (const inferior of run.inferiors) inferior.moved()
    const place = step === undefined ? placeOf(run.inferiors) : { domid: step.domid, vcpu: step.vcpu }
    const beginning: Stop = { type: 'beginning', ...place }
    try {
      if (step !== undefined) return await timeline.stepBack(step) ? { type: 'step', ...place } : beginning
      return await timeline.back(soughtOf(run)) ?? beginning
    } finally {
      this.stops.clear()
      for (const inferior of run.inferiors) inferior.moved()
    }
  }

  interrupt(): void {
    this.isInterrupted = true
    this.timeline?.wake()
  }

  leave(): void {}

  release(): void {
    this.isReleased = true
    this.isInterrupted = true
    this.stops.clear()
    const { timeline } = this
    this.timeline = undefined
    timeline?.wake()
    void timeline?.release()
  }
}

/** What a vCPU is asked about. */
function hooksOf({ inferiors, steps }: GroundRun, { domid, vcpu, host, stops }: { readonly domid: number; readonly vcpu: number; readonly host: Host; readonly stops: Stops }): TraceHooks | undefined {
  const inferior = inferiors.find((one) => one.domid === domid)
  return inferior?.hooks(vcpu, { host, isStep: steps.has(stepKey(domid, vcpu)), stop: (stop, cost) => stops.add(stop, cost) })
}

/** Everything that stops, to be found backwards. */
const soughtOf = ({ inferiors }: GroundRun): Sought<Stop> => ({
  hooks: ({ domid, vcpu, host }, see) => inferiors.find((one) => one.domid === domid)?.hooks(vcpu, { host, isStep: false, isBack: true, stop: see }),
})
