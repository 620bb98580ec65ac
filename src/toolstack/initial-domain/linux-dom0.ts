/**
 * Somebody else's kernel as dom0, such as Debian's Linux with Xen's own tools: a PV domain with the power over all others, built as
 * Xen builds it. XenStore, consoles and back-ends run in it; this library serves nothing, and follows what its tools do by the
 * hypervisor's events.
 * Reference: xen/arch/x86/pv/dom0_build.c; xen/common/shutdown.c, hwdom_shutdown.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import { XenError, type DomId, type Mfn, type Part } from '../../util/index.ts'
import { buildInitialDomain } from '../builder/pv-builder.ts'
import { loadKernel, loadRamdisk, type KernelPlaces } from '../domains/kernel-source.ts'
import { shutdownReasonName, type ShutdownReasonName } from '../domains/shutdown-reason.ts'
import type { RunLoop } from '../run/run-loop.ts'
import type { ControlDomain } from './control-domain.ts'
import type { Dom0 } from '../dom0/dom0.ts'
import { HostConsole } from './host-console.ts'

/** A kernel for dom0 and what it starts with. */
export interface Dom0Image {
  /** A path among the host's files, or the bytes. */
  readonly kernel?: string | Uint8Array | undefined
  readonly ramdisk?: string | Uint8Array | undefined
  readonly commandLine?: string | undefined
}

/** What such a dom0 is made of. */
export interface LinuxDom0Options extends KernelPlaces {
  readonly control: ControlInterface
  readonly loop: RunLoop
  readonly image: Dom0Image
  readonly pages: number
  readonly maxPages: number
  readonly vcpus: number
  now(): number
  /** It has ended by itself: with it everything on the host stands. */
  onShutdown(reason: ShutdownReasonName): void
}

const DOM0 = 0 as DomId

/** Dom0 with a kernel and services of its own. */
export class LinuxDom0 implements ControlDomain {
  readonly serves = false
  readonly createRunner = undefined
  readonly console: HostConsole
  private readonly options: LinuxDom0Options

  constructor(options: LinuxDom0Options) {
    const { control } = options
    this.options = options
    this.console = new HostConsole({ control, from: DOM0, now: () => options.now(), turn: () => undefined })
    control.events.on('domain-shutdown', ({ domid, reason }) => {
      if (domid === DOM0) options.onShutdown(shutdownReasonName(reason))
    })
  }

  /** There is no kernel of this library in it. */
  get dom0(): Dom0 {
    throw new XenError('NOT_SUPPORTED', 'dom0 has a kernel and services of its own: domains, devices and XenStore are its tools\' (xl, xenstore-ls)', {
      details: { services: 'dom0' },
    })
  }

  async start(): Promise<void> {
    const { control, vcpus, pages, maxPages, image: { kernel: source, ramdisk: disk, commandLine = '' } } = this.options
    if (source === undefined) throw new XenError('INVALID_CONFIG', 'dom0 has no kernel: give dom0.kernel', { details: { key: 'dom0.kernel' } })
    const kernel = await loadKernel({ type: 'pv', kernel: source }, this.options)
    const ramdisk = await loadRamdisk(disk, this.options.files)
    const image = 'image' in kernel && 'virtualBase' in kernel.image ? kernel.image : undefined
    if (image?.bits !== 64) throw new XenError('NOT_SUPPORTED', 'dom0 must be a 64-bit PV kernel', { details: { name: kernel.name, bits: image?.bits } })
    control.createDomain({ domid: DOM0, kind: 'pv', privileged: true, vcpus, maxPages })
    buildInitialDomain(control, { domid: DOM0, image, ramdisk, pages, commandLine })
    control.unpauseDomain(DOM0)
    this.options.loop.kick()
  }

  checkAttached(): void {}

  silentFrames(): readonly Mfn[] {
    return []
  }

  underWay(): string | undefined {
    return undefined
  }

  unsavable(): string | undefined {
    return undefined
  }

  parts(): readonly Part[] {
    return [this.console.part()]
  }

  retire(): void {
    this.console.end()
  }
}
