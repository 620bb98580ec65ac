/**
 * A privileged domain that a test plays as a toolstack: calls of domctl, sysctl and memory_op with their structures, at places in its
 * own frames. Its first frame holds the structure, those behind it buffers.
 */
import {
  DOMCTL, DOMCTL_INTERFACE_VERSION, Domctl, HYPERVISOR, SYSCTL, SYSCTL_INTERFACE_VERSION, Sysctl,
} from '../../src/abi/index.ts'
import type { Hypervisor } from '../../src/hypervisor/index.ts'
import type { DomId, Fields, Mfn, Overlay } from '../../src/util/index.ts'

/** Names of operations. */
export type DomctlName = keyof typeof DOMCTL
export type SysctlName = keyof typeof SYSCTL

/** What a call has answered: its result, and the structure as it has come back. */
export interface Answer {
  readonly result: number
  /** Reads a structure of the argument. */
  argument<T extends Fields>(layout: Overlay<T>): ReturnType<Overlay<T>['decode']>
}

/** One such domain. */
export class ToolDomain {
  readonly domid: DomId
  readonly frames: readonly Mfn[]
  readonly view: DataView
  readonly bytes: Uint8Array
  private readonly hypervisor: Hypervisor

  constructor(hypervisor: Hypervisor, memory: { readonly view: DataView; readonly bytes: Uint8Array }, { pages = 32, privileged = true }: { pages?: number; privileged?: boolean } = {}) {
    this.hypervisor = hypervisor
    this.view = memory.view
    this.bytes = memory.bytes
    this.domid = hypervisor.createDomain({
      kind: 'typescript', createRunner: () => ({ executed: 1, run: () => ({ kind: 'block' }), enter: () => true }), privileged, maxPages: pages,
    })
    this.frames = hypervisor.populatePhysmap(this.domid, pages, 0)
  }

  /** Address of a buffer of its own: page `index` from 1 on. */
  buffer(index = 1): number {
    return this.frames[index]! * 4096
  }

  /** Bytes of a buffer. */
  bufferBytes(index: number, length: number): Uint8Array {
    return this.bytes.subarray(this.buffer(index), this.buffer(index) + length)
  }

  call(name: keyof typeof HYPERVISOR, ...args: number[]): number {
    return this.hypervisor.port(this.domid).hypercall(HYPERVISOR[name], args)
  }

  /** One domctl; `fill` writes its argument at the address that it is given. */
  domctl(name: DomctlName, domain: number, fill?: (view: DataView, at: number) => void, version: number = DOMCTL_INTERFACE_VERSION): Answer {
    const at = this.frames[0]! * 4096
    this.bytes.fill(0, at, at + Domctl.size)
    Domctl.encode(this.view, at, { cmd: DOMCTL[name], interfaceVersion: version, domain })
    fill?.(this.view, at + Domctl.u.offset)
    return this.answer(this.call('domctl', at), at + Domctl.u.offset)
  }

  /** The number that createdomain or getdomaininfo has put into the structure. */
  get toldDomain(): number {
    return Domctl.domain.get(this.view, this.frames[0]! * 4096)
  }

  /** One sysctl. */
  sysctl(name: SysctlName, fill?: (view: DataView, at: number) => void, version: number = SYSCTL_INTERFACE_VERSION): Answer {
    const at = this.frames[0]! * 4096
    this.bytes.fill(0, at, at + Sysctl.size)
    Sysctl.encode(this.view, at, { cmd: SYSCTL[name], interfaceVersion: version })
    fill?.(this.view, at + Sysctl.u.offset)
    return this.answer(this.call('sysctl', at), at + Sysctl.u.offset)
  }

  private answer(result: number, at: number): Answer {
    const { view } = this
    return { result, argument: (layout) => layout.decode(view, at) as never }
  }
}
