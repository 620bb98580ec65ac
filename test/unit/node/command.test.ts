import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { main } from '../../../src/node/command/main.ts'
import { annotation, junit } from '../../../src/node/command/reports.ts'
import { explore } from '../../../src/testing/index.ts'
import { failing } from '../../support/explore/failing.ts'

const folder = mkdtempSync(join(tmpdir(), 'paravirt-command-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Calls the command; its status and what it wrote. */
async function call(...words: string[]): Promise<{ readonly status: number; readonly out: string; readonly error: string }> {
  const out: string[] = []
  const error: string[] = []
  const status = await main(words, { out: (line) => out.push(line), error: (line) => error.push(line) })
  return { status, out: out.join('\n'), error: error.join('\n') }
}

const FAILING = join(import.meta.dirname, '../../support/explore/failing.ts')
const TEST = join(import.meta.dirname, '../../support/explore/counter.ts')

describe('the command', { timeout: 30_000 }, () => {
  test('teaches: all commands, and each of them', async () => {
    const all = await call('help')
    expect([all.status, all.error]).toEqual([0, ''])
    for (const name of ['run', 'explore', 'replay', 'guests', 'verify', 'xl', 'fleet']) {
      expect(all.out).toContain(`  ${name} `)
      const one = await call('help', name)
      expect(one).toMatchObject({ status: 0, error: '', out: expect.stringMatching(new RegExp(`^usage: paravirt ${name} `)) })
      expect((await call(name, '--help')).out).toBe(one.out)
    }
    expect((await call('help', 'explore')).out).toContain('--budget TIME')
    expect((await call('help', 'xl')).out).toContain('  paravirt xl create [-n] [-p] [FILE] [KEY=VALUE ...]\n')
  })

  test('has a fleet run the domains of description files', async () => {
    const file = join(folder, 'web.cfg')
    writeFileSync(file, 'name = "web"\nmemory = 8\n')
    const { status, out, error } = await call('fleet', 'up', file, '--hosts', '2', '--memory', '64M', '--once')
    expect([status, error]).toEqual([0, ''])
    expect(out.split('\n').slice(0, 2)).toEqual(['host host1 has joined', 'host host2 has joined'])
    expect(out).toContain('domain web is wanted running')
    expect(out).toMatch(/domain web runs at host host[12], epoch \d+/)
  })

  test('says which version it is', async () => {
    const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../../package.json'), 'utf8')) as { version: string }
    expect(await call('--version')).toEqual({ status: 0, out: version, error: '' })
  })

  test.each<[string[], string]>([
    [[], 'usage: paravirt COMMAND'],
    [['explor'], 'did you mean explore?'],
    [['explore'], 'it takes TEST'],
    [['explore', 'one', 'two'], 'it takes TEST'],
    [['explore', TEST, '--budgte', '5s'], '--budgte'],
    [['explore', TEST, '--runs', 'many'], '--runs must be a whole number, got many'],
    [['explore', TEST, '--strategy', 'brute', '--only', 'careful'], 'brute'],
    [['explore', TEST, '--only', 'nobody'], 'it has careless, careful'],
    [['run', TEST.replace('counter.ts', 'hostile.ts')], 'exports no test'],
    [['replay'], 'it takes FILE.pvr'],
    [['fleet'], 'it takes up'],
    [['fleet', 'up', '--hosts', 'many'], '--hosts must be a number'],
    [['fleet', 'drain', 'anna'], '--etcd ENDPOINTS'],
    [['fleet', 'fly', '--etcd', '127.0.0.1:1'], 'it takes up or one of status, define'],
    [['xl'], 'it takes COMMAND'],
    [['xl', 'xend', '--memroy', '1G'], '--memroy'],
    [['xl', 'xend', '--relocation', 'many'], 'must be a port, got many'],
  ])('refuses %j with status 2, and says why', async (words, why) => {
    const { status, error } = await call(...words)
    expect(error).toContain(why)
    expect(status).toBe(2)
  })

  test.each<[string[], string]>([
    [['run', '/nowhere/fc4'], 'cannot be read'],
    [['run', '/nowhere/test.mjs'], 'cannot be imported'],
    [['replay', '/nowhere/x.pvr'], 'cannot be read'],
  ])('fails on %j with status 1', async (words, why) => {
    expect(await call(...words)).toMatchObject({ status: 1, error: expect.stringContaining(why) })
  })

  test('refuses what is no replay file, and one of another version', async () => {
    const path = join(folder, 'bad.pvr')
    for (const [text, why] of [['{}', 'it is none'], ['{"format":"paravirt-replay","version":9}', 'version 9']] as const) {
      writeFileSync(path, text)
      expect(await call('replay', path)).toMatchObject({ status: 1, error: expect.stringContaining(why) })
    }
  })

  test('runs the tests of a module once, and makes a failing run again', async () => {
    const both = await call('run', FAILING)
    expect(both).toMatchObject({ status: 1, error: '', out: expect.stringMatching(/^FAILED: failing, run 0 \(plain\) from seed 1\n {2}always: nothing is right[^]*passed: passing, 0 runs from seed 1$/) })
    expect(JSON.parse((await call('run', FAILING, '--only', 'passing', '--json')).out)).toMatchObject({ name: 'passing', passed: true })
    const found = await explore(failing, { runs: 0 })
    const path = join(folder, 'failing.pvr')
    writeFileSync(path, found.failure!.replay!.encode())
    const again = await call('replay', path, '--test', FAILING)
    expect(again).toMatchObject({ status: 0, error: '' })
    expect(again.out).toMatch(/^failing: recorded as always: nothing is right\n {2}now: always: nothing is right, at \d+ ns\n {2}the same run, to the last bit$/)
    expect(JSON.parse((await call('replay', path, '--test', FAILING, '--json')).out)).toMatchObject({ same: true, failure: { kind: 'property' } })
    const other = await call('replay', path, '--test', FAILING, '--only', 'passing')
    expect(other).toMatchObject({ status: 1, out: expect.stringMatching(/another run: input 0: recorded none, found "store at/) })
  })

  test('tells outcomes to JUnit and GitHub, whatever is in them', async () => {
    const bad = await explore(() => { throw new Error('a <b> & "c"\u0001') }, { runs: 0, host: { memory: 32, dom0Memory: 8 }, name: 'bad: one' })
    const good = await explore(() => undefined, { runs: 0, host: { memory: 32, dom0Memory: 8 }, name: 'good' })
    const all = [{ found: bad, seconds: 1.5, text: bad.text() }, { found: good, seconds: 0.25, text: good.text() }]
    const xml = junit('a.mjs', all)
    expect(xml).toContain('<testsuite name="paravirt" tests="2" failures="1" time="1.750">')
    expect(xml).toContain('<testcase classname="a.mjs" name="good" time="0.250"/>')
    expect(xml).toContain('message="a &lt;b&gt; &amp; &quot;c&quot;?"')
    expect(annotation('a.mjs', all[0]!)).toMatch(/^::error file=a\.mjs,title=bad%3A one failed::FAILED: bad: one, run 0 \(plain\) from seed 1%0A {2}a <b>/)
    expect(readFileSync(TEST, 'utf8')).toContain('scenario')
  })
})
