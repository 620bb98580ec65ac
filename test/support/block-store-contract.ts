/** Registers the checks of every block store for one kind of store. */
import { describe, test } from 'vitest'
import { blockStoreContract, type BlockStoreMaker } from '../../src/testing/index.ts'

/** Declares the suite. */
export function describeBlockStore(name: string, maker: BlockStoreMaker): void {
  describe(`${name}, as a block store`, () => {
    for (const { name: sentence, skip, run } of blockStoreContract(maker)) test.skipIf(skip !== undefined)(skip === undefined ? sentence : `${sentence} (SKIPPED: ${skip})`, run)
  })
}
