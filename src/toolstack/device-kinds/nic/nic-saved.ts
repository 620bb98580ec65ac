/**
 * A network interface in libxl's JSON: what xl of 4.17 writes, in its order, defaults left out.
 * Reference: tools/libs/light/libxl_types.idl, libxl_device_nic.
 */
import * as z from 'zod'
import { jsonBool, jsonFlag, present, unlessDefault } from '../saved-fields.ts'
import type { DeviceSaved } from '../described-device.ts'
import type { NicConfig } from './nic-specification.ts'

const text = /* @__PURE__ */ z.string()

const schema = /* @__PURE__ */ z.object({
  backend_domname: text.optional(),
  devid: z.int().min(0).max(0xffff).optional(),
  mtu: z.int().min(0).max(0xffff).optional(),
  model: text.optional(),
  mac: text.optional(),
  ip: text.optional(),
  bridge: text.optional(),
  ifname: text.optional(),
  script: text.optional(),
  rate_bytes_per_interval: z.int().min(0).optional(),
  rate_interval_usecs: z.int().min(0).optional(),
  gatewaydev: text.optional(),
  vlan: text.optional(),
  trusted: jsonBool.optional(),
})

/** Network interfaces of a saved domain. */
export const NIC_SAVED: DeviceSaved<NicConfig> = {
  key: 'nics',
  schema,
  write: (nic, index) => ({
    backend_domname: unlessDefault(nic.backend, '0'),
    devid: nic.deviceId ?? index,
    mtu: nic.mtu,
    model: nic.model,
    mac: nic.mac,
    ip: nic.ip,
    bridge: nic.bridge,
    ifname: nic.name,
    script: unlessDefault(nic.script, 'vif-bridge'),
    nictype: 'vif',
    rate_bytes_per_interval: nic.rate?.bytesPerInterval,
    rate_interval_usecs: nic.rate?.intervalMicroseconds,
    gatewaydev: nic.gatewayDevice,
    vlan: nic.vlan,
    trusted: nic.trusted ? undefined : jsonFlag(false),
  }),
  read(nic: z.infer<typeof schema>) {
    const { rate_bytes_per_interval: bytes, rate_interval_usecs: interval } = nic
    const rate = bytes === undefined || bytes === 0
      ? undefined : { bytesPerInterval: bytes, intervalMicroseconds: interval ?? 50_000 }
    return {
      bridge: nic.bridge ?? 'xenbr0',
      script: nic.script ?? 'vif-bridge',
      backend: nic.backend_domname ?? '0',
      trusted: nic.trusted !== 'False',
      ...present({
        mac: nic.mac?.toLowerCase(), ip: nic.ip, name: nic.ifname, model: nic.model, gatewayDevice: nic.gatewaydev,
        deviceId: nic.devid, mtu: nic.mtu, vlan: nic.vlan, rate,
      }),
    }
  },
}
