/** What a host has understood and gives no effect to: told as it comes about, and kept for those who look later. */
import type { ConfigWarning } from '../config/description-file.ts'
import type { BootWarning } from '../grub/xen-options.ts'

/** Warnings that a host keeps: a guest that ends again and again brings some about each time. */
export const WARNING_LIMIT = 1000

/** Warnings of one host. */
export class Warnings {
  /** So far; of very many the last {@link WARNING_LIMIT}. */
  readonly list: (ConfigWarning | BootWarning)[] = []
  private readonly tell: (warning: ConfigWarning | BootWarning) => void

  constructor(tell: (warning: ConfigWarning | BootWarning) => void) {
    this.tell = tell
  }

  /** One more; `addition` ends its message. */
  add(warning: ConfigWarning | BootWarning, addition?: string): void {
    const shown = addition === undefined ? warning : { ...warning, message: `${warning.message}; ${addition}` }
    if (this.list.length >= WARNING_LIMIT) this.list.shift()
    this.list.push(shown)
    this.tell(shown)
  }
}
