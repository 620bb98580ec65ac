/**
 * What a saved kernel consists of. It is saved between two runs, with nothing under way: no posted task, no timer, port or
 * watch of code that would not attach it again. Its memory is the hypervisor's to save.
 */
import { shape, type EventPort, type Mfn, type StateOf } from '../util/index.ts'
import { clientState } from '../xenstore/index.ts'
import { balloonState } from './balloon.ts'
import type { BootInfo, BootRing } from './boot-info.ts'
import { consoleState } from './console.ts'
import { portsState } from './event-channels.ts'
import { loopState } from './event-loop.ts'
import { grantsState } from './grants.ts'
import { framesState, savedP2m } from './pages.ts'
import { pendingState } from './pending-events.ts'
import { controlState } from './shutdown-control.ts'
import { timersState } from './timers.ts'

const port = /* @__PURE__ */ shape.whole(1, 2 ** 17)

const ring = /* @__PURE__ */ shape.record({ frame: shape.word, port })

/** A kernel's state. */
export const kernelState = /* @__PURE__ */ shape.record({
  sharedInfo: shape.word,
  commandLine: /* @__PURE__ */ shape.text(1 << 16),
  startInfo: /* @__PURE__ */ shape.optional(shape.word),
  storeRing: /* @__PURE__ */ shape.optional(ring),
  consoleRing: /* @__PURE__ */ shape.optional(ring),
  wakePort: port,
  timerPort: port,
  random: /* @__PURE__ */ shape.list(shape.word, 4, 4),
  loop: loopState,
  pending: pendingState,
  timers: timersState,
  ports: portsState,
  frames: framesState,
  grants: grantsState,
  /** The timer after which grants that end are looked at again. */
  retry: /* @__PURE__ */ shape.optional(shape.time),
  balloon: balloonState,
  control: controlState,
  console: /* @__PURE__ */ shape.optional(consoleState),
  store: clientState,
})

/** A saved kernel. */
export type KernelState = StateOf<typeof kernelState>

const ringOf = ({ frame, port: number }: StateOf<typeof ring>): BootRing => ({ frame: frame as Mfn, port: number as EventPort })

/** What the kernel was told at its boot, with the frames that it has now. */
export const savedBoot = ({ sharedInfo, commandLine, frames, startInfo, storeRing, consoleRing }: KernelState): BootInfo => ({
  sharedInfo: sharedInfo as Mfn, commandLine, frames: savedP2m(frames),
  ...(startInfo === undefined ? {} : { startInfo: startInfo as Mfn }),
  ...(storeRing === undefined ? {} : { store: ringOf(storeRing) }),
  ...(consoleRing === undefined ? {} : { console: ringOf(consoleRing) }),
})
