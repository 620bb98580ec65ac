/** The form in which an end of a vchan is saved, within what its program says of itself: plain data that JSON holds. */
import { LAST_DOMID } from '../../abi/index.ts'
import { shape, type StateOf } from '../../util/index.ts'
import { VCHAN_ORDER } from './protocol.ts'

const order = /* @__PURE__ */ shape.whole(VCHAN_ORDER.small, VCHAN_ORDER.most)

/** The shape of it. */
export const vchanState = /* @__PURE__ */ shape.record({
  role: /* @__PURE__ */ shape.oneOf('server', 'client'),
  peer: /* @__PURE__ */ shape.whole(0, LAST_DOMID), path: /* @__PURE__ */ shape.text(4096), port: /* @__PURE__ */ shape.whole(1, 2 ** 17),
  persistent: shape.flag, gone: shape.flag, orders: /* @__PURE__ */ shape.record({ left: order, right: order }),
  /** The shared page, those of the left ring and those of the right: their frames, and their references or handles. */
  pages: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({ frame: shape.word, name: shape.word }), 513),
  consumed: shape.word, produced: shape.word,
})

/** A saved end of a vchan. */
export type VchanState = StateOf<typeof vchanState>
