import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { embeddedKernel } from '../../../../src/toolstack/image/embedded-kernel.ts'

const folder = fileURLToPath(new URL('../../../../examples/guests/mini/', import.meta.url))
const OTHER_COMPILER = 77

/** The script's exit status; undefined when it cannot run here. */
function check(): number | undefined {
  try {
    execFileSync('sh', [`${folder}build.sh`, '--check'], { stdio: 'pipe' })
    return 0
  } catch (error) {
    const { status, stderr } = error as { status: number | null; stderr: Buffer }
    if (status === OTHER_COMPILER || /not found/.test(String(stderr))) return undefined
    throw new Error(String(stderr), { cause: error })
  }
}

describe('the embedded kernel', () => {
  test('is the committed ELF image, small enough to be carried along', () => {
    const image = embeddedKernel()
    expect([...image.subarray(0, 5)]).toEqual([0x7f, 0x45, 0x4c, 0x46, 2])
    expect(Buffer.from(image).equals(readFileSync(`${folder}mini.elf`))).toBe(true)
    expect(image.length).toBeLessThan(24 * 1024)
  })

  test('is handed out as a copy, so that nobody can change it for others', () => {
    embeddedKernel().fill(0)
    expect(embeddedKernel()[0]).toBe(0x7f)
  })

  test('is what its source compiles to', ({ skip }) => {
    const status = check()
    if (status === undefined) skip('no gcc 12 here')
    expect(status).toBe(0)
  }, 60_000)
})
