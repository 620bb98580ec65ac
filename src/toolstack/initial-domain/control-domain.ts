/**
 * What runs in domain 0, as its host has to know it: how it comes up, what of it is saved and how it is left. One is a kernel of this
 * library with XenStore and consoles (../dom0), the other somebody's own, such as Linux with Xen's tools (linux-dom0.ts).
 */
import type { RunnerFactory } from '../../hypervisor/index.ts'
import type { Mfn, Part, Quiescible, Savable, XenError } from '../../util/index.ts'
import type { Dom0 } from '../dom0/dom0.ts'
import type { HostConsole } from './host-console.ts'

/** Domain 0 on its way, and once it is there. */
export interface ControlDomain extends Quiescible, Savable {
  /** Whether this library serves XenStore, consoles and devices: where not, `dom0` throws. */
  readonly serves: boolean
  /** Makes what runs on its vCPUs, where that is written in TypeScript. */
  readonly createRunner: RunnerFactory | undefined
  /** The kernel of this library in it. Throws NOT_SUPPORTED where there is another one. */
  readonly dom0: Dom0
  /** What the hypervisor's console shows and is typed. Throws NOT_SUPPORTED where nobody reads it. */
  readonly console: HostConsole
  /** Makes the domain and starts it; resolves when it serves, or, for somebody else's kernel, when it runs. */
  start(): Promise<unknown>
  /** Everything that was saved of it has been taken up. Throws INVALID_STATE. */
  checkAttached(): void
  /** Frames that it writes without a word. */
  silentFrames(): readonly Mfn[]
  /** What there is to save of it beside the hypervisor's half, in the order in which it is loaded. */
  parts(): readonly Part[]
  /** The host goes on as another: nothing of this one reaches it any more. */
  retire(why: XenError): void
}
