/** Where the cores of a host's domains go: what an action at a domain's end calls. What is written is in core-dump.ts. */
import type { Hypervisor } from '../../hypervisor/index.ts'
import type { Domain } from '../host/domain.ts'
import type { CoreOpener } from '../boot/host-options.ts'
import { writeCoreDump } from './core-dump.ts'

/** Writes cores where the host's settings open a target for them. */
export function coreDumper({ control, options: { openCore } }: {
  readonly control: Hypervisor
  readonly options: { readonly openCore?: CoreOpener | undefined }
}): ((domain: Domain) => Promise<void>) | undefined {
  if (openCore === undefined) return undefined
  return async ({ id, name, uuid }) => writeCoreDump(control, id, await openCore({ id, name, uuid }))
}
