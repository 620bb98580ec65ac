/**
 * Modules that the build has written, packed (LZ4 blocks, base64), with their lengths: the build puts its own file in the place of this
 * one (tsup.config.ts). From source there are none, and whoever needs one writes it.
 */

/** Modules that are prepared: those for 64-bit linear addresses, which nearly every processor begins with. */
export type PreparedModule = 'interpreter' | 'vector' | 'avx'

/** A packed module. */
export interface PackedModule {
  readonly length: number
  readonly packed: string
}

/** Those that there are, and the index of the micro-operations, as JSON. */
export const PREPARED_MODULES: Readonly<Partial<Record<PreparedModule | 'index', PackedModule>>> = {}
