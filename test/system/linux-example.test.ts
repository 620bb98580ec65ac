/** The example that boots Linux, as a new user runs it; only where it is asked for: with CI=true or LINUX_TESTS=1. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const wanted = process.env['CI'] === 'true' || process.env['LINUX_TESTS'] === '1'
const missing = wanted ? whyMissing(...LINUX_FILES) : ' (SKIPPED: set LINUX_TESTS=1)'

test.skipIf(missing !== undefined)(`examples/linux.ts shows a command's answer and ends well${missing ?? ''}`, async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', 'examples/linux.ts', 'echo $((6 * 7))'], { cwd: ROOT })
  const text = stdout.replaceAll('\r', '')
  expect(text).toMatch(/\n42\n/)
  expect(text).toMatch(/MemTotal: +\d+ kB/)
  expect(text).toMatch(/debian ended by poweroff/)
}, 300_000)
