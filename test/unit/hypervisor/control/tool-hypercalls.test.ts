/** What Xen's own tools asked of real Xen, asked here: each command's calls give the same results, but for what is explained. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { SHUTDOWN } from '../../../../src/abi/index.ts'
import type { DomId } from '../../../../src/util/index.ts'
import { MachineHost, SOURCE } from '../../../support/machine-host.ts'
import { readToolCapture } from '../../../support/tool-capture.ts'
import { type Comparison, ToolReplay } from '../../../support/tool-replay.ts'

const capture = readToolCapture(readFileSync(new URL('../../../golden/dom0-tool-hypercalls-xen-4.17.txt', import.meta.url), 'utf8'))

/** Why a call is answered otherwise here. */
const EXPLAINED: readonly (readonly [line: RegExp, why: string])[] = [
  [/sysctl\/get_pmstat/, 'dom0 had told that Xen of the states of its CPUs, by ACPI; before that, and without ACPI, it is ENODEV'],
  [/sysctl\/pm_op \{11 /, 'dom0 had told that Xen of frequencies, but not of these CPUs; without any it is ENODEV'],
]

const explanationOf = (line: string): string | undefined => EXPLAINED.find(([pattern]) => pattern.test(line))?.[1]

describe('the calls of Xen\'s tools', () => {
  const replay = new ToolReplay(new MachineHost(SOURCE, { physicalCpus: 2, memoryBytes: 320 << 20 }))
  const played: Comparison[] = capture.map((command) => {
    if (/^xl (create|restore)/.test(command.command)) replay.begin()
    // The first half of a save is told under `save -c`; in it the guest has suspended.
    if (command.command.startsWith('xl save (')) replay.host.hypervisor.shutdownDomain(1 as DomId, SHUTDOWN.suspend)
    return replay.play(command)
  })

  test.each(played.filter(({ calls }) => calls > 0))('$command: $calls calls', ({ different }) => {
    expect(different.filter((line) => explanationOf(line) === undefined)).toEqual([])
  })

  test('every explanation explains something', () => {
    const lines = played.flatMap(({ different }) => different)
    expect(EXPLAINED.filter(([pattern]) => !lines.some((line) => pattern.test(line))).map(([pattern]) => String(pattern))).toEqual([])
  })

  test('leave a host that adds up', () => {
    expect(replay.host.problems()).toEqual([])
  })
})
