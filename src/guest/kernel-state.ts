/**
 * What a saved kernel consists of. It is saved between two runs, with nothing under way: no posted task, no timer, port or
 * watch of code that would not attach it again, no grant in force. Its memory is the hypervisor's to save.
 */
import { shape, type Mfn, type StateOf } from '../util/index.ts'
import { clientState } from '../xenstore/index.ts'
import { balloonState } from './balloon.ts'
import type { BootInfo } from './boot-info.ts'
import { portsState } from './event-channels.ts'
import { loopState } from './event-loop.ts'
import { grantsState } from './grants.ts'
import { framesState, savedP2m } from './pages.ts'
import { pendingState } from './pending-events.ts'
import { timersState } from './timers.ts'

const port = /* @__PURE__ */ shape.whole(1, 2 ** 17)

/** A kernel's state. */
export const kernelState = /* @__PURE__ */ shape.record({
  sharedInfo: shape.word,
  commandLine: /* @__PURE__ */ shape.text(1 << 16),
  wakePort: port,
  timerPort: port,
  random: /* @__PURE__ */ shape.list(shape.word, 4, 4),
  loop: loopState,
  pending: pendingState,
  timers: timersState,
  ports: portsState,
  frames: framesState,
  grants: grantsState,
  balloon: balloonState,
  store: clientState,
})

/** A saved kernel. */
export type KernelState = StateOf<typeof kernelState>

/** What the kernel was told at its boot, with the frames that it has now. */
export const savedBoot = ({ sharedInfo, commandLine, frames }: KernelState): BootInfo =>
  ({ sharedInfo: sharedInfo as Mfn, commandLine, frames: savedP2m(frames) })
