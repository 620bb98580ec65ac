import { afterEach, describe, expect, test, vi } from 'vitest'
import { whyNoProgram } from '../../support/programs.ts'

afterEach(() => vi.unstubAllEnvs())

describe('programs for tests', () => {
  test('one that is there is no reason to skip, in CI or not', () => {
    for (const ci of ['', 'true']) {
      vi.stubEnv('CI', ci)
      expect(whyNoProgram(process.execPath, '--version')).toBeUndefined()
    }
  })

  test('one that is missing is a reason to skip that says SKIPPED, and a failure in CI', () => {
    vi.stubEnv('CI', '')
    expect(whyNoProgram('no-such-program-4711', '--version')).toBe(' (SKIPPED: no no-such-program-4711 on this machine)')
    vi.stubEnv('CI', 'true')
    expect(() => whyNoProgram('no-such-program-4711', '--version')).toThrow(/cannot run here .*no-such-program-4711/)
  })
})
