/**
 * A replicated log on three of Debian's Linux, each on a host of its own: under a partition it loses a write that it had acknowledged, which `always`
 * tells; put right it does not.
 */
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { folderCache } from '../../src/node/index.ts'
import { explore, fixture, type RunBody } from '../../src/testing/index.ts'
import type { Host, Moment } from '../../src/toolstack/index.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { bootLinuxHost, createLinux, LINUX_FILES } from '../support/linux.ts'
import { buildNative } from '../support/native-build.ts'
import { optionalDecompressor } from '../../src/decompress/index.ts'

const missing = whyMissing(...LINUX_FILES, 'linuxModules')
const NODES = ['a', 'b', 'c'] as const

/** The program, wrong and right, as files of the disk. */
function programs(): Record<string, Uint8Array> {
  const source = new URL('../guests/replicated-log/replicated-log.c', import.meta.url).pathname
  const build = (options: readonly string[]): Uint8Array => {
    const { path, reason } = buildNative(source, ['-static', '-O1', '-s', '-Wall', '-Wextra', '-Werror', ...options])
    if (path === undefined) throw new Error(reason)
    return readFileSync(path)
  }
  return { log: build([]), 'log-fixed': build(['-DFIXED']) }
}

/** A Linux with a network interface, at its shell. */
async function readyMoment(): Promise<Moment<Host>> {
  const netfront = readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/net/xen-netfront.ko`)
  const files = { ...programs(), 'm/xen-netfront.ko': netfront }
  return fixture('replicated log', async () => {
    const host = await bootLinuxHost({ memory: 256 })
    const linux = await (await createLinux(host, { domain: { memory: 160, nics: ['mac=00:16:3e:00:00:01'] }, files })).ready()
    await linux.run('insmod /m/xen-netfront.ko')
    await linux.run('until ifconfig eth0 0.0.0.0 up; do sleep 0.1; done')
    return host
  }, { cache: folderCache(), inputs: Object.values(files), load: { decompress: optionalDecompressor } }).moment()
}

/** A write before a partition, one at the leader that is cut off, and another leader. */
const body = (program: string, from: Moment<Host>): RunBody => async ({ simulate, always, sometimes }) => {
  const world = await simulate({ hosts: { a: from, b: from, c: from }, network: { latency: '1ms' } })
  const consoles = NODES.map((name) => world.host(name).domain('linux').console)
  const say = async (node: number, text: string, answer: RegExp): Promise<string> => {
    await world.until(consoles[node]!.write(`${text}\r`))
    return (await world.until(consoles[node]!.waitFor(answer)))![0]
  }
  for (const [at] of NODES.entries()) {
    const node = at + 1
    await say(at, `ifconfig eth0 down; ifconfig eth0 hw ether 02:00:00:00:00:0${node}; ifconfig eth0 10.0.0.${node} netmask 255.255.255.0 up; /${program} ${node}`, /node \d serves\n/)
  }
  const answers = [await say(0, 'write first', /(acknowledged|refused) first\n/)]
  world.partition(['a'], ['b', 'c'])
  answers.push(await say(0, 'write second', /(acknowledged|refused) second\n/))
  await say(1, 'lead', /this node leads\n/)
  const log = await say(1, 'read', /log [a-z,]*\n/)
  const acknowledged = answers.flatMap((answer) => /^acknowledged (\w+)/.exec(answer)?.[1] ?? [])
  sometimes(acknowledged.includes('first'), 'a write is acknowledged')
  always(acknowledged.every((word) => log.includes(`${word},`)), 'what was acknowledged is in the log of the next leader', { acknowledged, log })
}

describe.skipIf(missing !== undefined)(`a replicated log on three Linux guests${missing ?? ''}`, { timeout: 900_000 }, () => {
  let from: Moment<Host>
  beforeAll(async () => { from = await readyMoment() }, 400_000)

  test('loses an acknowledged write under partition, which is told', async () => {
    const found = await explore(body('log', from), { name: 'log', host: { memory: 32, dom0Memory: 8 }, runs: 1, narrow: false })
    expect(found.failure?.failure).toMatchObject({
      kind: 'property', message: 'always: what was acknowledged is in the log of the next leader', details: expect.stringContaining('"second"'),
    })
  })

  test('put right loses none', async () => {
    const found = await explore(body('log-fixed', from), { name: 'log-fixed', host: { memory: 32, dom0Memory: 8 }, runs: 2 })
    found.assertPassed()
    expect(found.unseen).toEqual([])
  })
})
