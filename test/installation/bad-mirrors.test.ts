/** Debian's installer out of mirrors that lack or spoil a package: it says so, and everything ends. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { InstallationBench, whyNoInstallation } from '../support/installation.ts'

const missing = whyNoInstallation()
const PATIENCE = 1_800_000

describe.skipIf(missing !== undefined)(`Debian's installer, unattended, out of a mirror${missing ?? ''}`, { timeout: PATIENCE }, () => {
  let bench: InstallationBench
  beforeAll(async () => {
    bench = await InstallationBench.make()
  }, PATIENCE)
  afterAll(() => bench?.close())

  test('that lacks a part of the installer ends with an error that names it', async () => {
    const broken = bench.spoiltMirror('bootstrap-base', () => undefined)
    await expect(bench.install('pvh', bench.blankDisk('lacking.img'), broken)).rejects.toThrow(/The mirror lacks \/debian\/pool\/bootstrap-base_/)
  })

  test('whose part is not what its index says ends with an error of the installer', async () => {
    const broken = bench.spoiltMirror('one-partition', (bytes) => bytes.map((byte, at) => (at === bytes.length >> 1 ? byte ^ 1 : byte)))
    await expect(bench.install('pvh', bench.blankDisk('spoilt.img'), broken)).rejects.toThrow(/one-partition/)
  })
})
