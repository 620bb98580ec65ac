/**
 * A fixture's Linux in processes of their own, as test files are: from asking for it to the shell's first answer. The first process boots it
 * and keeps its moment; those behind it are counted. What a child prints is one object.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { debianGuests, folderCache } from '../../../src/node/index.ts'
import { linux } from '../../../src/testing/index.ts'
import { GUESTS_FOLDER } from '../../support/guests.ts'
import { bundle } from '../../support/bundle.ts'

/** Milliseconds by the wall, and of the process's processors. */
export interface FixtureRun {
  readonly wall: number
  readonly cpu: number
}

/** What a child does. */
export async function runFixture(folder: string): Promise<void> {
  const guests = debianGuests(GUESTS_FOLDER)
  const before = process.cpuUsage()
  const begun = performance.now()
  const shell = await linux({ guests, cache: folderCache(folder) }).start()
  const answer = await shell.run('echo $((6 * 7))')
  const wall = performance.now() - begun
  const { user, system } = process.cpuUsage(before)
  await shell.host.shutdown()
  if (answer !== '42') throw new Error(`the shell says ${answer}`)
  console.log(JSON.stringify({ wall, cpu: (user + system) / 1000 } satisfies FixtureRun))
}

/** The median of so many processes, by the wall. */
export async function fixtureProcesses(rounds: number): Promise<FixtureRun> {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-fixture-'))
  const { path, remove } = await bundle(`import { runFixture } from './support/fixture-process.ts'\nawait runFixture(${JSON.stringify(folder)})`, 'test/bench')
  try {
    const run = (): FixtureRun => JSON.parse(execFileSync(process.execPath, [path], { encoding: 'utf8' })) as FixtureRun
    run()
    const runs = Array.from({ length: rounds }, run).sort((one, other) => one.wall - other.wall)
    return runs[rounds >> 1]!
  } finally {
    remove()
    rmSync(folder, { recursive: true, force: true })
  }
}
