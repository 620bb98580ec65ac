/**
 * Changing what is behind an attached disk while it runs: another medium of a removable one, none, another size. The front-end is told as
 * Linux's back-end tells of a size: `sectors` is written, and the state once more. Of a disk that a driver domain serves the contents are
 * that domain's: it is refused.
 * Reference: tools/libs/light/libxl_disk.c, libxl_cdrom_insert; Linux, drivers/block/xen-blkback/blkback.c, xen_vbd_resize.
 */
import type { BlockStore } from '../../drivers/index.ts'
import { checkArgument, named, text, whole, XenError, type DomId } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import { DISK } from '../device-kinds/disk/disk.ts'
import { SERVED_DISKS } from '../device-kinds/disk/disk-service.ts'
import type { DiskConfig } from '../device-kinds/disk/disk-specification.ts'
import type { RunLoop } from '../run/run-loop.ts'
import { called, type Attached, type DeviceOptions } from './attached.ts'
import { devicePaths } from './device-nodes.ts'
import type { Devices } from './devices.ts'
import { ANSWER_TIME } from './waits.ts'

/** What it works on. */
export interface ContentsHost {
  readonly devices: Devices
  readonly store: LocalStore
  readonly loop: RunLoop
  /** A disk has another medium; without `target` none. */
  onMedium(domid: DomId, device: { readonly device: number; readonly name: string; readonly target: string | undefined }): void
}

/** A medium to be put into a drive. */
export interface WantedMedium {
  readonly disk: number | string
  /** What the host's opener finds it by, and its name; undefined for none. */
  readonly target: string | undefined
  /** Its contents, where they come along. */
  readonly store?: BlockStore | undefined
}

/** How the change goes: `onOpened` takes what closes the new contents again, `onReleased` hears that there is no way back. */
type ContentsOptions = Pick<DeviceOptions, 'signal' | 'check' | 'onReleased'> & { readonly onOpened: (close: () => void | Promise<void>) => void }

/** What of a disk's configuration a text can say again. */
const withTarget = ({ target: _, ...config }: DiskConfig, target: string | undefined): DiskConfig => (target === undefined ? config : { ...config, target })

/** Waits for something that the back-end does at its own pace. */
async function finished({ loop }: ContentsHost, what: string, work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  let isDone = false
  let failure: unknown
  void work.catch((error: unknown) => { failure = error }).finally(() => {
    isDone = true
    loop.kick()
  })
  await loop.until(what, () => isDone, { signal, timeout: ANSWER_TIME })
  if (failure !== undefined) throw failure
}

/** The disk, which dom0 serves. Throws DEVICE_NOT_FOUND, NOT_SUPPORTED, INVALID_STATE. */
function servedDisk({ devices }: ContentsHost, domid: DomId, disk: number | string) {
  const { device: id, backend, name } = devices.find(domid, DISK, named(disk))
  const place = { kind: DISK.name, domid, backend, id }
  if (backend !== 0) {
    throw new XenError('NOT_SUPPORTED', `${called(place)} is served by domain ${backend}, whose own its contents are`, { details: { domid, disk: name, backend } })
  }
  const served = devices.service(SERVED_DISKS).served(domid, id)
  if (served === undefined) throw new XenError('INVALID_STATE', `${called(place)} is not served yet`, { details: { domid, disk: name } })
  return { place, served, name }
}

/** Puts a medium into a drive, in the place of the one that is there, or takes that one out. Throws INVALID_STATE for a disk that is not removable. */
export async function changeMedium(host: ContentsHost, domid: DomId, { disk, target, store }: WantedMedium, options: ContentsOptions): Promise<void> {
  const { devices } = host
  if (target !== undefined) checkArgument('the medium', target, (value) => text(value) ?? (value === '' ? 'must not be empty: ejectMedium takes one out' : undefined))
  const { place, served, name } = servedDisk(host, domid, disk)
  await devices.busyWith<DiskConfig>(place, 'having its medium changed', async (attached) => {
    const { config } = attached
    if (config.type !== 'cdrom') {
      throw new XenError('INVALID_STATE', `disk ${name} of domain ${domid} is not removable: its specification does not say cdrom`, { details: { domid, disk: name } })
    }
    options.check?.()
    const contents = await devices.service(SERVED_DISKS).openContents(domid, withTarget(config, target), store)
    options.onOpened(() => contents.close())
    options.check?.()
    options.onReleased?.()
    // Also when nobody waits for it any more.
    const changed = served.changeContents(contents, target ?? '').then(() => {
      settle(host, attached, target, store !== undefined)
      host.onMedium(domid, { device: place.id, name, target })
    })
    await finished(host, `${called(place)} to take its medium`, changed, options.signal)
  })
}

/** What the toolstack knows of a disk is true again. */
function settle({ store }: ContentsHost, attached: Attached & { config: DiskConfig }, target: string | undefined, isOwn: boolean): void {
  attached.config = withTarget(attached.config, target)
  attached.hasOwnResource = isOwn
  attached.lastError = undefined
  store.write(`${devicePaths(attached.place).libxl}/params`, target ?? '')
}

/** Gives a disk another size, in bytes. What lies beyond a smaller one is lost. */
export async function resizeDisk(host: ContentsHost, domid: DomId, { disk, bytes }: { readonly disk: number | string; readonly bytes: number }, options: ContentsOptions): Promise<void> {
  checkArgument('the size of a disk in bytes', bytes, (value) => whole(0, Number.MAX_SAFE_INTEGER)(value) ?? ((value as number) % 512 === 0 ? undefined : 'must be a whole number of sectors of 512 bytes'))
  const { place, served } = servedDisk(host, domid, disk)
  await host.devices.busyWith(place, 'having its size changed', async () => {
    options.check?.()
    options.onReleased?.()
    await finished(host, `${called(place)} to have its size`, served.resize(bytes), options.signal)
  })
}
