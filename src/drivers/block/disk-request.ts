/** What a back-end is asked to open: a disk as the toolstack has described it in XenStore. */
import { LAST_DOMID } from '../../abi/index.ts'
import { shape, type DomId, type Shape } from '../../util/index.ts'

/** What the toolstack wrote about a disk. */
export interface DiskRequest {
  readonly domid: DomId
  /** Number of the virtual device, such as 51712 for xvda. */
  readonly device: string
  /** What the specification names as target: a path, as a rule. */
  readonly params: string
  /** `phy`, `file`, ... */
  readonly type: string
  readonly readOnly: boolean
  /** How its contents lie in what is opened: `raw`, `qcow2`. */
  readonly format: string
  /** The virtual device's name, such as `xvda`. */
  readonly name: string
}

const text = /* @__PURE__ */ shape.text(4096)

/** A saved one. */
export const diskRequest = /* @__PURE__ */ shape.record<DiskRequest>({
  // What is in the range is a domain's number.
  domid: /* @__PURE__ */ shape.whole(0, LAST_DOMID) as Shape<DomId>,
  device: text, params: text, type: text, readOnly: shape.flag, format: text, name: text,
})
