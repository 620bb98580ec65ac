/** Waiting for the two halves of a device: until it is where it is to be, or until something is wrong with it. */
import { XENBUS_STATE } from '../../abi/index.ts'
import { XenError } from '../../util/index.ts'
import { abortedError } from '../run/operation.ts'
import { called, type Attached, type DeviceOptions, type WaitHost } from './attached.ts'
import { backendState, devicePaths, writeHotplugNodes } from './device-nodes.ts'

/** How long a back-end may take to answer, in host time: what libxl gives it. */
export const ANSWER_TIME = 10e9

/** States of a back-end that has answered. */
const ANSWERED: readonly (number | undefined)[] = [XENBUS_STATE.InitWait, XENBUS_STATE.Initialised, XENBUS_STATE.Connected]

/** Throws when a device is not wanted any more: its caller has given up, or a domain has gone. */
export function checkStays({ place, leaving }: Attached, { signal }: DeviceOptions): void {
  if (signal?.aborted === true) throw abortedError(called(place), signal)
  if (leaving === undefined) return
  throw new XenError('DEVICE_NOT_FOUND', `${called(place)} was taken away meanwhile`, { details: { domid: place.domid, id: place.id } })
}

/** Throws IO when the back-end said that it cannot serve the device. */
function checkHotplug({ store }: WaitHost, { place, kind, config, lastError }: Attached): void {
  const { backend } = devicePaths(place)
  if (store.tryRead(`${backend}/hotplug-status`) !== 'error') return
  const reason = store.tryRead(`${backend}/hotplug-error`) ?? 'the back-end gave no reason'
  throw new XenError('IO', `${kind.label(config)} of domain ${place.domid}: ${reason}`, {
    details: { domid: place.domid, kind: place.kind, device: place.id, reason }, cause: lastError,
  })
}

/** Waits until the device has come where it is to be, telling each state of the back-end on the way. */
export async function reach(
  host: WaitHost, attached: Attached, options: DeviceOptions & { readonly isThere: () => boolean; readonly onState?: () => void },
): Promise<void> {
  const { place } = attached
  let last: number | undefined
  await host.loop.until(called(place), () => {
    checkStays(attached, options)
    checkHotplug(host, attached)
    options.onState?.()
    const state = backendState(host.store, place)
    if (state !== last && state !== undefined) {
      options.onProgress?.({ type: 'device-state', kind: place.kind, device: place.id, state })
    }
    last = state
    return options.isThere()
  }, { signal: options.signal, timeout: ANSWER_TIME, domid: place.domid })
}

/** Waits until the back-end has answered, and has opened what it serves where it opens something. */
export async function answered(host: WaitHost, attached: Attached, options: DeviceOptions): Promise<void> {
  const { place, kind } = attached
  await reach(host, attached, { ...options, isThere: () => ANSWERED.includes(backendState(host.store, place)) })
  if (attached.hotplugged !== undefined) writeHotplugNodes(host.store, place, attached.hotplugged)
  if (!kind.isOpened) return
  const status = `${devicePaths(place).backend}/hotplug-status`
  await host.loop.until(`the ${kind.title} ${place.id} of domain ${place.domid} to be opened`, () => {
    checkStays(attached, options)
    checkHotplug(host, attached)
    return host.store.tryRead(status) === 'connected'
  }, { signal: options.signal, timeout: ANSWER_TIME, domid: place.domid })
}
