/** Runs a fake hypervisor's domains for as long as a test waits for something that they do. */
import type { FakeHypervisor } from './fake-hypervisor.ts'

/** Rounds of settling after which nobody can expect the work to end any more. */
const ROUNDS = 1000

/**
 * Runs the domains until a promise has settled, and passes its outcome on.
 *
 * @example
 * const disk = await during(hub, disks.disk('xvda'))
 * const sector = await during(hub, disk.read(0, 1))
 */
export async function during<T>(hub: FakeHypervisor, work: Promise<T>): Promise<T> {
  let settled = false
  const done = work.finally(() => { settled = true })
  done.catch(() => undefined)
  for (let round = 0; round < ROUNDS && !settled; round += 1) await hub.settle()
  return done
}
