/** README's test of a Linux, by vitest, as it stands. */
import { expect, test } from 'vitest'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'
import { readmeProgram, runTest } from '../support/readme-examples.ts'

const missing = whyMissing(...LINUX_FILES)

test.skipIf(missing !== undefined)(`README has a test of a Linux that runs as written${missing ?? ''}`, { timeout: 240_000 }, async () => {
  const program = readmeProgram('debianGuests()')
  expect(program.trim().split('\n').length).toBeLessThanOrEqual(20)
  expect(await runTest(program.replace('debianGuests()', `debianGuests(${JSON.stringify(GUESTS_FOLDER)})`))).toMatch(/Tests .*1 passed/)
})
