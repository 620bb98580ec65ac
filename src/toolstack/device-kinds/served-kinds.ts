/**
 * The back-ends of the table of kinds: the half of each row that only a host needs, which brings the drivers with it. Nothing
 * that reads or writes descriptions imports this.
 */
import { SERVED_CHANNELS } from './channel/channel-service.ts'
import type { DeviceLists } from './device-kinds.ts'
import { SERVED_DISKS } from './disk/disk-service.ts'
import { SERVED_FOLDERS } from './folder/folder-service.ts'
import { SERVED_FRAMEBUFFERS } from './framebuffer/framebuffer-service.ts'
import { SERVED_KEYBOARDS } from './keyboard/keyboard-service.ts'
import { SERVED_NICS } from './nic/nic-service.ts'
import type { ServedDevice } from './served-device.ts'

/** What serves the kinds that every host has, by the option that describes their devices. */
export const SERVED_KINDS = { disks: SERVED_DISKS, nics: SERVED_NICS, channels: SERVED_CHANNELS, folders: SERVED_FOLDERS, framebuffers: SERVED_FRAMEBUFFERS, keyboards: SERVED_KEYBOARDS } satisfies { readonly [O in keyof DeviceLists]: ServedDevice<DeviceLists[O][number]> }
