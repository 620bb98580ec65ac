/**
 * Numbers for what set the flags, where a region knows it only at run time: behind a join each way may have set them in
 * its own manner. Two operands tell the third: of sums and differences the result and the right one are kept, which live on
 * in registers anyway; of comparisons, shifts and products the left and the right one.
 */
import type { FlagKind, FlagSource, Size } from '../../emit/binder.ts'

/** What is kept: as FlagKind says, and `cmp` for a difference that nobody needs. INC and DEC, which keep CF, come last. */
export const KEPT_KINDS = ['add', 'adc', 'sub', 'cmp', 'sbb', 'logic', 'shl', 'shr', 'sar', 'imul', 'inc', 'dec'] as const
/** One of them. */
export type KeptKind = (typeof KEPT_KINDS)[number]

/** Kinds whose result the two operands give. */
export const FROM_LEFT: ReadonlySet<KeptKind> = /* @__PURE__ */ new Set<KeptKind>(['cmp', 'shl', 'shr', 'sar', 'imul'])

/** Operand sizes in the order of their numbers. */
export const KEPT_SIZES = [8, 16, 32, 64] as const satisfies readonly Size[]

/** The number of a kind and size; 0 stands for flags that are in their words. */
export const kindNumber = (kind: KeptKind, size: Size): number =>
  1 + KEPT_KINDS.indexOf(kind) * KEPT_SIZES.length + KEPT_SIZES.indexOf(size)

/** From this number on CF is what it was before, and kept beside the operands. */
export const FIRST_STEP = /* @__PURE__ */ kindNumber('inc', 8)

/** How a source of flags is kept. */
export const keptKind = (source: FlagSource, isCompared: boolean): KeptKind =>
  (source.kind === 'sub' && isCompared ? 'cmp' : source.kind)

/** How the flags of what is kept come about. */
export const flagKind = (kind: KeptKind): FlagKind => (kind === 'cmp' ? 'sub' : kind)
