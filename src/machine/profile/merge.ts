/** Several processors' profiles as one. */
import type { ProcessorProfile, ProfileSample } from '../interface/profile.ts'

/** The sum of profiles of one machine's processors: samples by address, exits by why; the most frequent first. */
export function mergeProfiles(profiles: readonly ProcessorProfile[]): ProcessorProfile {
  const byAddress = new Map<number, ProfileSample>()
  const byCause = new Map<string, number>()
  for (const { samples, exits } of profiles) {
    for (const { address, interpreted, compiled } of samples) {
      const known = byAddress.get(address) ?? { address, interpreted: 0, compiled: 0 }
      byAddress.set(address, { address, interpreted: known.interpreted + interpreted, compiled: known.compiled + compiled })
    }
    for (const [cause, count] of Object.entries(exits)) byCause.set(cause, (byCause.get(cause) ?? 0) + count)
  }
  return {
    slice: Math.max(0, ...profiles.map(({ slice }) => slice)),
    samples: [...byAddress.values()].sort((one, other) => other.interpreted + other.compiled - one.interpreted - one.compiled),
    exits: Object.fromEntries([...byCause].sort(([, one], [, other]) => other - one)),
  }
}
