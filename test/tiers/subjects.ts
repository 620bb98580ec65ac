/** The settings under which random programs are judged: how soon, and how much at a time, a processor compiles what it runs. */
import type { CompilerOptions } from '../../src/machine/index.ts'
import type { TierOptions } from './tiers-fuzz.ts'

/** One of them. */
export interface Subject {
  readonly name: string
  readonly options: Pick<TierOptions, 'reference' | 'subject'>
}

const compiling = (name: string, compiler: CompilerOptions): Subject =>
  ({ name, options: { reference: { compiler: 'off' }, subject: { compiler } } })

/** All of them. */
export const SUBJECTS: readonly Subject[] = [
  { name: 'interpreter', options: { reference: { compiler: 'off' }, subject: { compiler: 'off' } } },
  compiling('regions of one instruction', { samples: 1, slice: 1, limit: 1, batch: 1 }),
  compiling('regions at once', { samples: 1, slice: 7, limit: 400, batch: 1 }),
  // Later, when what lies behind has been decoded too.
  compiling('regions of whole programs', { samples: 6, slice: 11, limit: 400, batch: 1 }),
  compiling('regions of what was executed', { samples: 6, slice: 100, limit: 12, batch: 1 }),
  compiling('small regions, several to a module', { samples: 1, slice: 31, limit: 12, batch: 5 }),
  compiling('regions that come and go', { samples: 1, slice: 60, limit: 400, batch: 2, drop: { seed: 7, oneIn: 12 } }),
  compiling('few modules', { samples: 2, slice: 50, limit: 100, batch: 1, modules: 3 }),
]
