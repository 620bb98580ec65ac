/** Where the cores of a host's domains go: what an action at a domain's end calls. What is written is in core-dump.ts. */
import type { Hypervisor } from '../../hypervisor/index.ts'
import type { DomId } from '../../util/index.ts'
import type { ByteOutput } from '../stream/index.ts'
import { writeCoreDump } from './core-dump.ts'

/** Opens the target of a domain's core dump, as `xl` opens a file in /var/lib/xen/dump. */
export type CoreOpener = (domain: CoreSubject) => ByteOutput | Promise<ByteOutput>

/** The domain whose core is to be written. */
export interface CoreSubject {
  readonly id: DomId
  readonly name: string
  readonly uuid: string
}

/** Writes cores where the host's settings open a target for them. */
export function coreDumper({ control, options: { openCore } }: {
  readonly control: Hypervisor
  readonly options: { readonly openCore?: CoreOpener | undefined }
}): ((domain: CoreSubject) => Promise<void>) | undefined {
  if (openCore === undefined) return undefined
  return async ({ id, name, uuid }) => writeCoreDump(control, id, await openCore({ id, name, uuid }))
}
