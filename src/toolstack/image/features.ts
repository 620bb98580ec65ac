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

/** Features that no PV guest can have here: a kernel that demands one is for another kind of guest. */
const NOT_FOR_PV = ['auto_translated_physmap', 'supervisor_mode_kernel', 'hvm_callback_vector'] as const

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
  for (const name of NOT_FOR_PV) {
    if ((required & (1 << XENFEAT[name])) !== 0)
      throw imageError('note FEATURES', name, 'is required, and a PV guest cannot have it')
  }
  return { supported: supported >>> 0, required: required >>> 0 }
}
