/**
 * A disk in libxl's JSON: what xl of 4.17 writes, in its order, defaults left out.
 * Reference: tools/libs/light/libxl_types.idl, libxl_device_disk.
 */
import * as z from 'zod/mini'
import { parseVirtualDevice } from '../../../drivers/index.ts'
import { jsonBool, jsonFlag, present, unlessDefault } from '../saved-fields.ts'
import type { DeviceSaved } from '../described-device.ts'
import type { DiskConfig, DiskFormat } from './disk-specification.ts'

const text = /* @__PURE__ */ z.string()
const number = /* @__PURE__ */ z.number()

const schema = /* @__PURE__ */ z.object({
  backend_domname: z.optional(text), pdev_path: z.optional(text), vdev: text,
  backend: z.optional(z.enum(['unknown', 'phy', 'tap', 'qdisk', 'standalone'])),
  format: z.optional(z.enum(['unknown', 'raw', 'qcow', 'qcow2', 'vhd', 'qed', 'empty'])),
  script: z.optional(text), readwrite: z.optional(number), is_cdrom: z.optional(number), direct_io_safe: z.optional(jsonBool),
  discard_enable: z.optional(jsonBool), trusted: z.optional(jsonBool),
})

/** Disks of a saved domain. */
export const DISK_SAVED: DeviceSaved<DiskConfig> = {
  key: 'disks',
  schema,
  write: (disk) => ({
    backend_domname: unlessDefault(disk.backend, '0'),
    pdev_path: disk.target, vdev: disk.vdev.name, backend: disk.backendType, format: disk.format, script: disk.script,
    removable: disk.type === 'cdrom' ? 1 : undefined,
    readwrite: disk.access === 'w' ? 1 : undefined,
    is_cdrom: disk.type === 'cdrom' ? 1 : undefined,
    direct_io_safe: disk.directIoSafe ? jsonFlag(true) : undefined,
    discard_enable: disk.discard ? undefined : jsonFlag(false),
    colo_restore_enable: jsonFlag(false),
    trusted: disk.trusted ? undefined : jsonFlag(false),
  }),
  read(disk: z.infer<typeof schema>) {
    const { backend, format } = disk
    return {
      vdev: parseVirtualDevice(disk.vdev),
      format: (format === undefined || format === 'unknown' || format === 'empty' ? 'raw' : format) satisfies DiskFormat,
      access: disk.readwrite === undefined || disk.readwrite === 0 ? 'r' : 'w',
      type: (disk.is_cdrom ?? 0) === 0 ? 'disk' : 'cdrom',
      backend: disk.backend_domname ?? '0',
      directIoSafe: disk.direct_io_safe === 'True',
      discard: disk.discard_enable !== 'False',
      trusted: disk.trusted !== 'False',
      ...present({ target: disk.pdev_path, script: disk.script, backendType: backend === 'unknown' ? undefined : backend }),
    }
  },
}
