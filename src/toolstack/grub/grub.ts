/** A boot loader's file of either kind: GRUB 2's script or the lines of GRUB legacy. */
import type { BootDescription, GrubOptions } from './boot-description.ts'
import { parseGrubCfg } from './grub-cfg.ts'
import { parseGrubConf } from './grub-conf.ts'
import { isScript } from './grub-kind.ts'

/**
 * Reads a grub.conf or a grub.cfg, whichever the text is: one with a `title` is GRUB legacy's. Throws INVALID_CONFIG where
 * nothing in it boots Xen.
 */
export function parseGrub(text: string, options: GrubOptions = {}): BootDescription {
  return isScript(text) ? parseGrubCfg(text, options) : parseGrubConf(text, options)
}
