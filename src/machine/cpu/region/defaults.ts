/** The settings of the compiling tier where none are given. */
import type { CompilerOptions } from '../../interface/compiler.ts'

/** Settings that count. */
export type CompilerSettings = Required<Omit<CompilerOptions, 'drop' | 'now'>> & Pick<CompilerOptions, 'drop' | 'now'>

/** The defaults. */
export const COMPILER_DEFAULTS: CompilerSettings = { samples: 8, slice: 20_000, limit: 100, batch: 8, modules: 1000 }
