/** Runs a fake hypervisor's domains until something has settled. */
import type { FakeHypervisor } from './fake-hypervisor.ts'

/** Runs the domains until a promise has settled, and passes its outcome on. */
export async function during<T>(hub: FakeHypervisor, work: Promise<T>): Promise<T> {
  let settled = false
  const done = work.finally(() => { settled = true })
  done.catch(() => undefined)
  for (let i = 0; i < 1000 && !settled; i += 1) await hub.settle()
  return done
}
