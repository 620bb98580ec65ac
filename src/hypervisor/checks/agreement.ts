/** Both ends of every event channel and of every grant tell the same. */
import { XenError } from '../../util/index.ts'
import type { Rule } from './parts.ts'

/** Reports where they do not. */
export const checkAgreement: Rule = ({ events, grants }, recount) => {
  for (const part of [events, grants]) {
    try {
      part.check()
    } catch (error) {
      if (!XenError.is(error)) throw error
      recount.report(-1, error.message)
    }
  }
}
