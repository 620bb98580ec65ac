/** The rows of the frame table: frames that have a flag are found wherever they lie, whatever lies beside them. */
import { expect, test } from 'vitest'
import { FRAME_FLAG } from '../../../../src/hypervisor/frames/frame-facts.ts'
import { FrameRows } from '../../../../src/hypervisor/frames/frame-rows.ts'
import { SeededRandom, below } from '../../../../src/util/index.ts'

test.each([1, 31, 32, 33, 4095, 4096, 4097, 10_003])('of %i frames those with a flag are found, and no other', (end) => {
  const random = new SeededRandom(end)
  const rows = new FrameRows(end)
  const flags = Object.values(FRAME_FLAG)
  for (let round = 0; round < 20; round += 1) {
    // Few frames have any, at the end and in runs as well.
    for (const mfn of [0, end - 1, below(random, end), below(random, end), below(random, end)]) {
      rows.setFlags(mfn, below(random, 2) === 0 ? 0 : flags[below(random, flags.length)]! | flags[below(random, flags.length)]!)
    }
    const having = (flag: number): number[] => Array.from({ length: end }, (_, mfn) => mfn).filter((mfn) => (rows.flags[mfn]! & flag) !== 0)
    for (const flag of flags) expect(rows.framesWith(flag)).toEqual(having(flag))
    expect(rows.sharedFrames()).toEqual(having(FRAME_FLAG.SHARED))
  }
})
