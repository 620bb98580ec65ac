/** The settings of the compiling tier where none are given. */
import type { CompilerOptions } from '../../../interface/compiler.ts'

/** Settings that count. */
export type CompilerSettings = Required<Omit<CompilerOptions, 'drop' | 'now'>> & Pick<CompilerOptions, 'drop' | 'now'>

/** The defaults. */
export const COMPILER_DEFAULTS: CompilerSettings = { samples: 6, slice: 50_000, limit: 100, batch: 16, modules: 1000 }
