/** A part of something that is only there once the parts before it have been loaded. */
import type { Part } from '../../util/index.ts'

/** The part that `make` gives, asked for when it is needed. Its shape is checked when it is loaded, not before. */
export const later = (name: string, make: () => Part): Part => ({
  name,
  save: (before) => make().save(before),
  overlooked: (saved) => make().overlooked(saved),
  check: () => undefined,
  load: (saved) => make().load(saved),
  rewind: (saved) => make().rewind(saved),
})
