/** The devices of a host's domains as they are saved with it: each with what it was attached by, in its kind's own form. */
import { LAST_DOMID } from '../../abi/index.ts'
import * as z from 'zod/mini'
import { badState, shape, XenError, type DomId, type StateOf } from '../../util/index.ts'
import type { DeviceKinds } from '../device-kinds/device-kinds.ts'
import type { DescribedDevice, DeviceConfiguration } from '../device-kinds/described-device.ts'
import type { Attached } from './attached.ts'

const domain = /* @__PURE__ */ shape.whole(0, LAST_DOMID)

/** One device. */
const rowState = /* @__PURE__ */ shape.record({
  kind: /* @__PURE__ */ shape.text(64), domid: domain, backend: domain, id: shape.word,
  /** JSON of the kind's saved form. */
  config: /* @__PURE__ */ shape.text(1 << 16),
  origin: /* @__PURE__ */ shape.oneOf('configuration', 'attach', 'stream'),
  hasOwnResource: shape.flag,
})
type RowState = StateOf<typeof rowState>

/** All devices, in the order in which they were attached. */
export const rowsState = /* @__PURE__ */ shape.list(rowState, 2 ** 20)

/** A device as plain data. Nothing is being done to it. */
export const saveRow = ({ kind, place, config, origin, hasOwnResource }: Attached): RowState => ({
  kind: kind.name, domid: place.domid, backend: place.backend, id: place.id,
  config: JSON.stringify(kind.saved.write(config, place.id)), origin, hasOwnResource,
})

function readConfig(kind: DescribedDevice, text: string): DeviceConfiguration {
  try {
    return kind.saved.read(z.parse(kind.saved.schema, JSON.parse(text)))
  } catch (error) {
    throw badState(`the configuration of a ${kind.title} is none: ${XenError.is(error) ? error.message : String(error)}`)
  }
}

/** A device that was saved. */
export function readRow(kinds: DeviceKinds, { kind: name, domid: of, backend, id, config, origin, hasOwnResource }: RowState): Attached {
  const kind = kinds.all.find((each) => each.name === name)
  if (kind === undefined) throw badState(`this host has no kind of devices called ${name}`)
  return {
    kind, place: { kind: name, domid: of as DomId, backend: backend as DomId, id }, config: readConfig(kind, config), origin, hasOwnResource,
    resource: undefined, lastError: undefined, doing: undefined,
  }
}
