/** Calls that change a domain's devices: how the host's door notes them, and how they go as operations. */
import { tryRead, type DomId } from '../../util/index.ts'
import type { DescribedDevice } from '../device-kinds/described-device.ts'
import type { DeviceOptions, DeviceProgress } from '../devices/attached.ts'
import type { HostCall } from '../run/inputs.ts'
import type { Operation, OperationOptions } from '../run/operation.ts'
import type { Operations } from '../run/operations.ts'
import { limitsOf } from './call-inputs.ts'
import { checkCall, type CallOptions, type DetachOptions } from './call-options.ts'
import type { DomainFate } from './domain-fate.ts'

/** Calls that change a domain's devices. */
export type DeviceCall =
  'attachDisk' | 'attachNic' | 'attachDevice' | 'detachDisk' | 'detachNic' | 'detachDevice' | 'insertMedium' | 'ejectMedium' | 'resizeDisk'

/** A call: its name, what it does in words, what it was given. */
export interface DeviceChange<C extends DeviceCall> {
  readonly name: C
  readonly doing: string
  readonly options: CallOptions[C]
}

/** What a change is carried out with. */
export interface ChangeSettings extends DeviceOptions {
  /** Takes what closes something that was opened for it, should it fail. */
  readonly onOpened: (close: () => void | Promise<void>) => void
}

type Kind = Pick<DescribedDevice, 'name'>

/** Attaching, as the door notes it. */
export const attaching = (domid: DomId, { name: kind }: Kind, { description, options }: { readonly description: unknown; readonly options: OperationOptions | undefined }): HostCall =>
  ({ call: 'attach', domid, kind, description, ...limitsOf(options) })

/** Detaching, as the door notes it. */
export const detaching = (domid: DomId, { name: kind }: Kind, { name, options }: { readonly name: string | number; readonly options: DetachOptions | undefined }): HostCall =>
  ({ call: 'detach', domid, kind, name, force: tryRead(() => options?.force) === true, ...limitsOf(options) })

/** Carries a change out as an operation on its domain. */
export function changeDevices<C extends DeviceCall, T>(
  { host, fate }: { readonly host: { readonly operations: Operations }; readonly fate: DomainFate },
  { name: call, doing: name, options }: DeviceChange<C>,
  change: (settings: ChangeSettings) => Promise<T>,
): Operation<T, DeviceProgress> {
  const check = (): void => checkCall(call, options)
  const activity = { kind: 'device', doing: `having its devices changed (${name})` } as const
  const settings = { name: `${name} of domain ${fate.id}`, domid: fate.id, activity, signal: tryRead(() => options?.signal), check }
  return host.operations.start<T, DeviceProgress>(settings, async (context) => {
    if (fate.destroyed !== undefined) throw fate.gone()
    const { force }: DetachOptions = options
    const onReleased = (): void => {
      context.commit()
      context.ignoreCaller()
    }
    return change({
      signal: context.signal, onProgress: context.report, check: context.check, onReleased, force, onOpened: (close) => context.undo(close),
    })
  })
}
