import { expect, test } from 'vitest'
import type { DomainInfo } from '../../../../src/hypervisor/index.ts'
import { formatDomainList, stateLetters, summarize } from '../../../../src/toolstack/domains/domain-list.ts'

const info = (over: Partial<DomainInfo>): DomainInfo => ({
  domid: 1 as DomainInfo['domid'],
  kind: 'pv',
  hasRegisters: true, translated: false,
  addressSize: 64,
  privileged: false,
  running: false,
  blocked: false,
  paused: false,
  shutdown: false,
  crashed: false,
  dying: false,
  shutdownReason: undefined,
  totalPages: 32768,
  maxPages: 33024,
  sharedInfoFrame: 0 as DomainInfo['sharedInfoFrame'],
  cpuTime: 11e9,
  onlineVcpus: 2,
  maxVcpu: 1,
  pool: 0,
  outstandingPages: 0,
  handle: new Uint8Array(16),
  ...over,
})

test('the list looks as xl prints it, to the last blank', () => {
  // From a capture of Xen 4.17's `xl list`.
  expect(formatDomainList([
    { name: 'Domain-0', id: 0, memory: 900, vcpus: 1, state: 'r-----', time: 19.1 },
    { name: 'fc4', id: 1, memory: 128, vcpus: 2, state: '-b----', time: 11.04 },
    { name: 'crash', id: 5, memory: 128, vcpus: 1, state: '---sc-', time: 3.1 },
  ])).toBe([
    'Name                                        ID   Mem VCPUs\tState\tTime(s)',
    'Domain-0                                     0   900     1     r-----      19.1',
    'fc4                                          1   128     2     -b----      11.0',
    'crash                                        5   128     1     ---sc-       3.1',
    '',
  ].join('\n'))
})

test.each<[Partial<DomainInfo>, string]>([
  [{}, '------'],
  [{ running: true }, 'r-----'],
  [{ blocked: true }, '-b----'],
  [{ blocked: true, paused: true }, '-bp---'],
  [{ shutdown: true }, '---s--'],
  [{ crashed: true }, '---sc-'],
  [{ dying: true }, '-----d'],
])('the state of %j is %s', (over, letters) => {
  expect(stateLetters(info(over))).toBe(letters)
})

test('a summary counts memory in MiB and time in seconds', () => {
  expect(summarize('fc4', info({ blocked: true }))).toEqual({
    name: 'fc4',
    id: 1,
    memory: 128,
    vcpus: 2,
    state: '-b----',
    time: 11,
  })
})
