/** Domains that stand while the host's others go on: a stop pauses them as anybody else would. There is no past. */
import type { Host } from '../../toolstack/index.ts'
import { XenError } from '../../util/index.ts'
import { followVcpus } from '../history/lookout.ts'
import { overOf, placeOf, stepKey, Stops, type Ground, type GroundInferior, type GroundRun } from './ground.ts'
import type { Stop } from './stop.ts'

/** The ground of domains whose host runs on. */
export class FreeGround implements Ground {
  readonly host: Host
  readonly ready: Promise<void> = Promise.resolve()
  readonly goesBack = false
  readonly history = undefined
  private readonly stops = new Stops()
  private present: GroundRun | undefined
  private finish: ((stop: Stop) => void) | undefined
  private forget: (() => void)[] = []

  constructor(host: Host) {
    this.host = host
  }

  change(apply: (host: Host) => boolean): Promise<boolean> {
    return Promise.resolve(apply(this.host))
  }

  take(inferior: GroundInferior): void {
    pause(inferior)
  }

  run(run: GroundRun): Promise<Stop> {
    const next = this.stops.wanted(run.inferiors)
    if (next !== undefined) return Promise.resolve(next)
    const running = run.inferiors.filter(({ domid }) => run.running.has(domid))
    const over = running.map(overOf).find((stop) => stop !== undefined)
    if (over !== undefined) return Promise.resolve(over)
    return new Promise((resolve) => {
      this.finish = resolve
      this.present = run
      this.listen(run)
      for (const inferior of running) inferior.domain?.unpause()
    })
  }

  back(): Promise<Stop> {
    return Promise.reject(new XenError('INVALID_STATE', 'nothing was recorded: there is no way back'))
  }

  interrupt(): void {
    if (this.present === undefined) return
    const place = placeOf(this.present.inferiors)
    this.stopped({ type: 'interrupt', ...place })
  }

  leave(inferior: GroundInferior): void {
    if (overOf(inferior) === undefined && inferior.domain?.info().paused === true) inferior.domain.unpause()
  }

  release(): void {
    this.stops.clear()
    this.endRun()
    this.finish = undefined
  }

  private listen({ inferiors, steps }: GroundRun): void {
    const of = (domid: number): GroundInferior | undefined => inferiors.find((one) => one.domid === domid)
    const { host } = this
    const ended = (domid: number, reason: string): void => { if (of(domid) !== undefined) this.stopped({ type: 'ended', domid, reason }) }
    this.forget = [
      followVcpus(host, (domid, vcpu) => of(domid)?.hooks(vcpu, { host, isStep: steps.has(stepKey(domid, vcpu)), stop: (stop, cost) => this.stops.add(stop, cost) })),
      host.hypervisorEvents.on('vcpu-stopped', ({ domid }) => this.settle(of(domid))),
      host.events.on('domain-crashed', ({ domid }) => {
        const inferior = of(domid)
        if (inferior !== undefined) this.stopped(overOf(inferior)!)
      }),
      host.events.on('domain-shutdown', ({ domid, reason }) => { if (reason !== 'crash') ended(domid, reason) }),
      host.events.on('domain-destroyed', ({ domid }) => ended(domid, 'destroyed')),
      host.events.on('domain-paused', ({ domid }) => this.settle(of(domid))),
    ]
  }

  /** A guest is paused: what stopped it is told, or that somebody else did. */
  private settle(inferior: GroundInferior | undefined): void {
    if (this.finish === undefined || inferior === undefined) return
    this.stopped(this.stops.first() ?? { type: 'paused', domid: inferior.domid, vcpu: inferior.vcpus()[0] ?? 0 })
  }

  private stopped(stop: Stop): void {
    const { finish, present } = this
    this.finish = undefined
    this.endRun()
    for (const inferior of present?.inferiors ?? []) pause(inferior)
    finish?.(stop)
  }

  private endRun(): void {
    this.present = undefined
    for (const end of this.forget.splice(0)) end()
  }
}

/** Has a domain stand, where it can run. */
function pause(inferior: GroundInferior): void {
  const info = inferior.domain?.info()
  if (info !== undefined && !info.paused && !info.shutdown) inferior.domain?.pause()
}
