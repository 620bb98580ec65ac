/**
 * Features that a kernel's image names, `!` in front of those that it cannot do without.
 * Reference: xen/include/public/features.h; elfnote.h, XEN_ELFNOTE_FEATURES.
 */
import { XENFEAT } from '../../abi/index.ts'
import { imageError } from './elf.ts'

/** Feature bits of a kernel image. */
export interface ImageFeatures {
  readonly supported: number
  readonly required: number
}

/** Reads a feature list such as `!writable_page_tables|pae_pgdir_above_4gb`. */
export function parseFeatures(text: string, alsoSupported = 0): ImageFeatures {
  let supported = alsoSupported
  let required = 0
  for (const item of text.split('|')) {
    const name = item.replace(/^!/, '').trim()
    const bit = Object.hasOwn(XENFEAT, name) ? XENFEAT[name as keyof typeof XENFEAT] : undefined
    const demanded = item.startsWith('!')
    if (bit === undefined) {
      if (demanded) throw imageError('note FEATURES', name, 'is required and unknown')
      continue
    }
    supported |= 1 << bit
    if (demanded) required |= 1 << bit
  }
  return { supported: supported >>> 0, required: required >>> 0 }
}
