import { afterEach, describe, expect, test, vi } from 'vitest'
import { chosenSets } from '../../guests/fetch.ts'
import { GUEST_FILES, GUEST_SETS, guestFile, setOf, whyMissing } from '../../support/guests.ts'

afterEach(() => vi.unstubAllEnvs())

describe('guests for tests', () => {
  test('every file belongs to a set of packages', () => {
    for (const file of GUEST_FILES) expect(Object.keys(GUEST_SETS)).toContain(setOf(file))
  })

  test('a missing one is a reason to skip here and a failure in CI', () => {
    vi.stubEnv('CI', '')
    const missing = GUEST_FILES.filter((file) => guestFile(file) === undefined)
    expect(whyMissing()).toBeUndefined()
    for (const file of missing) expect(whyMissing(file)).toContain(`npm run guests -- ${setOf(file)}`)
    vi.stubEnv('CI', 'true')
    expect(whyMissing()).toBeUndefined()
    for (const file of missing) expect(() => whyMissing(file)).toThrow(/cannot run here/)
  })

  test('GRUB and BusyBox are fetched unless other sets are named; an unknown set is named in the error', () => {
    expect(chosenSets([])).toEqual(['grub', 'busybox'])
    expect(chosenSets(['--again'])).toEqual(['grub', 'busybox'])
    expect(chosenSets(['linux', 'tools'])).toEqual(['linux', 'tools'])
    expect(chosenSets(['all'])).toEqual(Object.keys(GUEST_SETS))
    expect(() => chosenSets(['windows'])).toThrow(`no set named windows; there are ${Object.keys(GUEST_SETS).join(', ')} and all`)
  })
})
