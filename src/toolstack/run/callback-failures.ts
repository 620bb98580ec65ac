/**
 * Failures of code that the host's owner gave and that the host calls on behalf of guests: a port's `onFrame`, a disk's
 * store, a source of entropy. A guest can bring such a failure about whenever it likes, so it stays with the device, port
 * or watch that it happened at, and is told as an event; the first of each is printed when nobody listens.
 */
import type { Random } from '../../util/index.ts'
import { XenError } from '../../util/index.ts'

/** Which code has failed. */
export type CallbackName = 'bridge-port' | 'bridge-tap' | 'network-outside' | 'block-store' | 'file-store' | 'store-watch' | 'entropy'

/** One failure. */
export interface CallbackFailure {
  readonly callback: CallbackName
  /** Whose it is: the bridge's name, the domain's number and the disk's name, the watched path. */
  readonly subject: string
  /** What was thrown, or what the promise was rejected with. */
  readonly error: unknown
}

/** Hears of failures. */
export type TellFailure = (failure: CallbackFailure) => void

/** Subjects that are remembered as printed; beyond them nothing is printed any more. */
const PRINTED = 64

/** Passes failures on to `emit`, and prints the first of each subject while `isHeard` says that nobody listens. */
export function failureTeller(emit: TellFailure, isHeard: () => boolean): TellFailure {
  const printed = new Set<string>()
  return (failure) => {
    const key = `${failure.callback} ${failure.subject}`
    if (!isHeard() && !printed.has(key) && printed.size < PRINTED) {
      printed.add(key)
      console.error(`${failure.callback} of ${failure.subject} has failed:`, failure.error)
    }
    emit(failure)
  }
}

/**
 * A source of entropy that fails with a XenError also when it answers what is no 32-bit number: a processor gives its
 * guest no random number then, which is what RDRAND's carry flag is for.
 */
export function checkedEntropy(source: Random, tell: TellFailure): Random {
  const fail = (error: unknown): never => {
    tell({ callback: 'entropy', subject: 'the host', error })
    throw error
  }
  return {
    next() {
      let word: unknown
      try {
        word = source.next()
      } catch (error) {
        return fail(error)
      }
      if (typeof word === 'number' && word >>> 0 === word) return word
      return fail(new XenError('INVALID_ARGUMENT', `entropy gave ${String(word)}, which is no 32-bit number`))
    },
  }
}
