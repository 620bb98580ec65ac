/**
 * A network interface in libxl's JSON: what xl of 4.17 writes, in its order, defaults left out. What libxl does not know, `queues` and `gso`, stands behind that.
 * Reference: tools/libs/light/libxl_types.idl, libxl_device_nic.
 */
import * as z from 'zod/mini'
import { jsonBool, jsonFlag, present, unlessDefault } from '../saved-fields.ts'
import type { DeviceSaved } from '../described-device.ts'
import type { NicConfig } from './nic-specification.ts'

const text = /* @__PURE__ */ z.string()
const count = /* @__PURE__ */ z.int().check(/* @__PURE__ */ z.minimum(0))
const word = /* @__PURE__ */ count.check(/* @__PURE__ */ z.maximum(0xffff))

const schema = /* @__PURE__ */ z.object({
  backend_domname: z.optional(text),
  devid: z.optional(word),
  mtu: z.optional(word),
  model: z.optional(text),
  mac: z.optional(text),
  ip: z.optional(text),
  bridge: z.optional(text),
  ifname: z.optional(text),
  script: z.optional(text),
  rate_bytes_per_interval: z.optional(count),
  rate_interval_usecs: z.optional(count),
  gatewaydev: z.optional(text),
  vlan: z.optional(text),
  trusted: z.optional(jsonBool),
  queues: z.optional(/* @__PURE__ */ z.int().check(/* @__PURE__ */ z.minimum(1), /* @__PURE__ */ z.maximum(8))),
  gso: z.optional(jsonBool),
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
    queues: nic.queues,
    gso: nic.gso === undefined ? undefined : jsonFlag(nic.gso),
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
        deviceId: nic.devid, mtu: nic.mtu, vlan: nic.vlan, rate, queues: nic.queues,
        gso: nic.gso === undefined || nic.gso === '<default>' ? undefined : nic.gso === 'True',
      }),
    }
  },
}
