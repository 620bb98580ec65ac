/** The server's own commands. That answers look as xenstored's is held against it in test/system. */
import { describe, expect, test } from 'vitest'
import { StoreHarness } from '../../../../src/testing/index.ts'

const command = (harness: StoreHarness, words: string): string => harness.client(0).ask('CONTROL', words)!

test('help lists exactly the commands that there are', () => {
  const harness = new StoreHarness()
  const names = command(harness, 'help|').slice(0, -1).trimEnd().split('\n').map((line) => line.split('\t')[0]!)
  expect(names).toEqual(['check', 'print', 'quota', 'quota-soft', 'help'])
  for (const name of ['log', 'logfile', 'memreport', 'live-update', 'toString']) {
    expect(command(harness, `${name}|on|`)).toBe('!EINVAL')
  }
})

test('only the privileged domain may give commands', () => {
  expect(new StoreHarness().client(1).ask('CONTROL', 'check|')).toBe('!EACCES')
})

test('what is to be printed is an event', () => {
  const harness = new StoreHarness()
  const printed: string[] = []
  harness.store.events.on('printed', ({ domid, text }) => printed.push(`${domid}: ${text}`))
  expect(command(harness, 'print|hello there|')).toBe('OK|')
  expect(printed).toEqual(['0: hello there'])
})

describe('a limit that is set', () => {
  test('holds at once for a domain that is there, and for one that comes', () => {
    const harness = new StoreHarness()
    const early = harness.client(1)
    expect(command(harness, 'quota|set|watches|2|')).toBe('OK|')
    for (const client of [early, harness.client(2)]) {
      const answers = ['a', 'b', 'c'].map((token) => client.ask('WATCH', `/x|${token}|`))
      expect(answers).toEqual(['OK|', 'OK|', '!ENOSPC'])
    }
  })

  test('does not hold for the privileged domain', () => {
    const harness = new StoreHarness()
    command(harness, 'quota|set|watches|1|')
    const dom0 = harness.client(0)
    expect(['a', 'b'].map((token) => dom0.ask('WATCH', `/x|${token}|`))).toEqual(['OK|', 'OK|'])
  })

  test.each(['quota|set|watches|', 'quota|set|watches|0|', 'quota|set|watches|-5|', 'quota|set|watches|99999999999|',
    'quota|set|nobody|5|', 'quota-soft|set|watches|5|', 'quota|set|'])('%s is refused and changes nothing', (words) => {
    const harness = new StoreHarness()
    const before = command(harness, 'quota|')
    expect(command(harness, words)).toBe('!EINVAL')
    expect(command(harness, 'quota|')).toBe(before)
  })
})

test('a domain\'s use is listed', () => {
  const harness = new StoreHarness()
  harness.client(1).ask('WATCH', '/x|token|')
  expect(command(harness, 'quota|1|')).toMatch(/^Domain 1:\nnodes +: +0\nwatches +: +1\ntransactions +: +0\noutstanding +: +0\n/)
  expect(command(harness, 'quota|9|')).toBe('!ENOENT')
})
