/** Why a guest stands under a debugger. */
import type { Watchpoint } from './watchpoint.ts'

/** A thread of a guest's process, where those are debugged: by the guest's own numbers. */
export interface ThreadPlace {
  readonly process: number
  readonly thread: number
}

/** Where something has stopped. */
interface Where {
  readonly domid: number
  readonly vcpu: number
  readonly place?: ThreadPlace | undefined
}

/** One reason. */
export type Stop =
  | Where & { readonly type: 'breakpoint'; readonly address: bigint }
  | Where & { readonly type: 'step' | 'interrupt' }
  | Where & { readonly type: 'watchpoint'; readonly watch: Watchpoint }
  /** Somebody else has paused it. */
  | Where & { readonly type: 'paused' }
  /** There is nothing further back. */
  | Where & { readonly type: 'beginning' }
  /** It is over; its registers can be read where the domain is preserved. */
  | Where & { readonly type: 'crashed'; readonly vector: number | undefined }
  /** The domain, or a process of it, which leaves what its kernel's `wait` tells. */
  | { readonly type: 'ended'; readonly domid: number; readonly reason: string; readonly process?: { readonly number: number; readonly status: number } }
