/** Tests that no thread survives, or that are none. */
import type { RunBody } from '../../../src/testing/index.ts'

/** Never gives JavaScript a turn. */
export const hangs: RunBody = () => {
  for (;;) continue
}

export const none = 7
