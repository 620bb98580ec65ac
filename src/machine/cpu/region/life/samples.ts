/**
 * Where one processor was when it was sampled, for a profile: how often at which address, and whether a region was at work
 * there. Of very many addresses those that come late are counted together.
 */

import type { ProfileSample } from '../../../interface/profile.ts'

/** Addresses that are told apart. */
const MOST_ADDRESSES = 1 << 16

/** Samples of an address. */
export interface AddressSamples {
  interpreted: number
  compiled: number
}

/** The samples of a processor. */
export class Samples {
  private readonly byAddress = new Map<number, AddressSamples>()
  /** Those of addresses beyond the most. */
  private readonly others: AddressSamples = { interpreted: 0, compiled: 0 }

  /** Counts one. */
  add(address: number, kind: keyof AddressSamples): void {
    let samples = this.byAddress.get(address)
    if (samples === undefined) {
      samples = this.byAddress.size < MOST_ADDRESSES ? { interpreted: 0, compiled: 0 } : this.others
      if (samples !== this.others) this.byAddress.set(address, samples)
    }
    samples[kind] += 1
  }

  /** What has been counted, the most frequent address first. */
  rows(): ProfileSample[] {
    return [...this.byAddress, [-1, this.others] as const]
      .map(([address, { interpreted, compiled }]) => ({ address, interpreted, compiled }))
      .filter(({ interpreted, compiled }) => interpreted + compiled > 0)
      .sort((one, other) => other.interpreted + other.compiled - one.interpreted - one.compiled)
  }
}
