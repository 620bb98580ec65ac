/** The two ways in which a new user boots Linux. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const missing = whyMissing(...LINUX_FILES)

test.skipIf(missing !== undefined)(`examples/linux.ts shows a command's answer and ends well${missing ?? ''}`, async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', 'examples/linux.ts', 'echo $((6 * 7))'], { cwd: ROOT })
  const text = stdout.replaceAll('\r', '')
  expect(text).toMatch(/\n42\n/)
  expect(text).toMatch(/MemTotal: +\d+ kB/)
  expect(text).toMatch(/debian ended by poweroff/)
}, 300_000)

test.skipIf(missing !== undefined)(`npm start -- examples/xen/debian shows the boot up to the shell${missing ?? ''}`, async () => {
  const words = ['--import', 'tsx', 'examples/start.ts', 'examples/xen/debian', '--until', 'initramfs: ready']
  const { stdout } = await promisify(execFile)(process.execPath, words, { cwd: ROOT })
  expect(stdout).toMatch(/Hypervisor detected: Xen PV/)
  expect(stdout).toMatch(/Run \/init as init process/)
}, 300_000)
