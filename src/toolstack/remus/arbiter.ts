/**
 * Who goes on with a protected domain when its two hosts have lost each other. Neither can tell a dead peer from a cut link, so somebody
 * who is neither of them decides, once: the first that asks goes on, the other never does.
 */

/** The two hosts of a protected domain. */
export type ProtectionSide = 'primary' | 'standby'

/** Decides which side of one protection goes on alone. */
export interface Arbiter {
  /**
   * True for the first side that asks, and for it alone from then on, whoever asks again. One that cannot be reached keeps its caller
   * waiting or rejects, and then the caller does not go on. Aborted when the answer is not needed any more.
   */
  claim(side: ProtectionSide, options: { readonly signal?: AbortSignal | undefined }): Promise<boolean>
}

/**
 * An arbiter in this process, for hosts that live in it: it is as safe as the process. Hosts in several processes want one that outlives
 * each of them, such as a fleet's store.
 *
 * @example
 * const arbiter = memoryArbiter()
 * const standing = second.standBy(ends[1], { arbiter, trust: 'all' })
 * const protection = domain.protect(ends[0], { arbiter })
 */
export function memoryArbiter(): Arbiter & { readonly winner: ProtectionSide | undefined } {
  let winner: ProtectionSide | undefined
  return {
    get winner() {
      return winner
    },
    claim: async (side) => (winner ??= side) === side,
  }
}
