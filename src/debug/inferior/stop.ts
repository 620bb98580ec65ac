/** Why a guest stands under a debugger. */
import type { Watchpoint } from './watchpoint.ts'

/** One reason. */
export type Stop =
  | { readonly type: 'breakpoint'; readonly domid: number; readonly vcpu: number; readonly address: bigint }
  | { readonly type: 'step' | 'interrupt'; readonly domid: number; readonly vcpu: number }
  | { readonly type: 'watchpoint'; readonly domid: number; readonly vcpu: number; readonly watch: Watchpoint }
  /** Somebody else has paused it. */
  | { readonly type: 'paused'; readonly domid: number; readonly vcpu: number }
  /** There is nothing further back. */
  | { readonly type: 'beginning'; readonly domid: number; readonly vcpu: number }
  /** It is over; its registers can be read where the domain is preserved. */
  | { readonly type: 'crashed'; readonly domid: number; readonly vcpu: number; readonly vector: number | undefined }
  | { readonly type: 'ended'; readonly domid: number; readonly reason: string }
