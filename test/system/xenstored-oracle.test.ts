/**
 * The C xenstored of Debian's Xen 4.17 and this library's server get the same random messages of privileged clients,
 * and must give the same answers and the same events. Left out is what 4.17 does not know yet (watches with a depth,
 * quotas and features by request, permissions of special nodes) or answers with whatever errno was left from before
 * (malformed bodies).
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findXenProgram, startPeer, type ServerProcess } from '../bench/support/xenstored-peer.ts'
import { Generator } from '../fuzz/xenstore-fuzz.ts'
import { listenXenStore, type XenStoreListener } from '../../src/node/index.ts'
import { SeededRandom } from '../../src/util/index.ts'
import { XenStore, XenStoreServer } from '../../src/xenstore/index.ts'
import { PeerClient } from '../support/peer-client.ts'
import { STORE_OPS, StoreHarness } from '../../src/testing/index.ts'

const CLIENTS = 3
const COMPARED: readonly number[] = [
  STORE_OPS.DIRECTORY, STORE_OPS.READ, STORE_OPS.GET_PERMS, STORE_OPS.WATCH, STORE_OPS.UNWATCH, STORE_OPS.TRANSACTION_START, STORE_OPS.TRANSACTION_END,
  STORE_OPS.WRITE, STORE_OPS.MKDIR, STORE_OPS.RM, STORE_OPS.SET_PERMS, STORE_OPS.RESET_WATCHES,
]

const peer: ServerProcess | string = await startPeer()
const absent = typeof peer === 'string' ? ` (SKIPPED: ${peer})` : ''

afterAll(() => {
  if (typeof peer !== 'string') peer.stop()
})

const isNewer = (type: number, body: string): boolean =>
  (type === STORE_OPS.WATCH && body.split('\0').length > 3) || (type === STORE_OPS.GET_PERMS && body.startsWith('@'))
  || (type === STORE_OPS.SET_PERMS && body.startsWith('@'))

describe.skipIf(typeof peer === 'string')(`the same messages to the C xenstored${absent}`, () => {
  let theirs: PeerClient[] = []

  beforeAll(async () => {
    for (let i = 0; i < CLIENTS; i += 1) theirs.push(await PeerClient.connect((peer as ServerProcess).socket))
  })

  afterAll(() => {
    for (const client of theirs) client.close()
    theirs = []
  })

  /** Empties the peer, which is one for all seeds. */
  const reset = async (): Promise<void> => {
    for (const client of theirs) await client.ask(STORE_OPS.RESET_WATCHES, '\0')
    for (const name of (await theirs[0]!.ask(STORE_OPS.DIRECTORY, '/\0')).split('|').slice(0, -1)) {
      await theirs[0]!.ask(STORE_OPS.RM, `/${name}\0`)
    }
    await theirs[0]!.ask(STORE_OPS.SET_PERMS, '/\0n0\0')
    await theirs[0]!.ask(STORE_OPS.WRITE, '/\0')
    await theirs[0]!.ask(STORE_OPS.WRITE, '/tool/xenstored\0')
  }

  test.each([11, 12, 13])('with seed %i are answered alike', async (seed) => {
    await reset()
    const harness = new StoreHarness()
    const ours = theirs.map(() => harness.client())
    const open = theirs.map(() => new Map<number, number>())
    const generator = new Generator(new SeededRandom(seed))
    const differences: string[] = []
    let compared = 0
    for (let i = 0; i < 1200; i += 1) {
      const { type, body } = generator.sensible()
      if (!COMPARED.includes(type) || isNewer(type, body)) continue
      const who = generator.number(CLIENTS)
      // Numbers of transactions differ between the two, because the peer has served other seeds before.
      const ids = [...open[who]!]
      const [mine, its] = ids.length > 0 && generator.chance(70) ? generator.pick(ids) : [0, 0]
      const answer = ours[who]!.ask(type, Uint8Array.from(body, (c) => c.charCodeAt(0)), mine)!
      const other = await theirs[who]!.ask(type, body, its)
      const started = type === STORE_OPS.TRANSACTION_START && !answer.startsWith('!') && !other.startsWith('!')
      if (started) open[who]!.set(parseInt(answer, 10), parseInt(other, 10))
      if (type === STORE_OPS.TRANSACTION_END) open[who]!.delete(mine)
      if (type === STORE_OPS.RESET_WATCHES) open[who]!.clear()
      if (other === '!EIO') {
        // It met a child that others had removed since; the transaction is lost anyway, there as here.
        for (const [client, tx] of [[ours[who]!, mine], [theirs[who]!, its]] as const) {
          await client.ask(STORE_OPS.TRANSACTION_END, 'F\0', tx)
        }
        open[who]!.delete(mine)
        continue
      }
      compared += 1
      const what = `${type} ${body} in ${mine}`
      if (!started && answer !== other) differences.push(`${what}: ours ${answer}, xenstored ${other}`)
      for (const [n, client] of theirs.entries()) {
        const [got, want] = [ours[n]!.events().join(), (await client.events()).join()]
        if (got !== want) differences.push(`${what}: events of ${n}: ours ${got}, xenstored ${want}`)
      }
    }
    expect(differences).toEqual([])
    expect(compared).toBeGreaterThan(800)
  }, 120_000)
})

const COMMANDS = [
  'check', 'check|x', 'print|text', 'print', 'print|a|b', 'quota', 'quota|99', 'quota|1|2', 'quota|set|watches|77', 'quota',
  'quota|set|nonsense|1', 'quota|set|watches|x', 'quota|set|watches|0', 'quota|set|watches', 'quota|set|watches|1|2',
  'quota|set|memory|12 apples', 'quota', 'quota-soft', 'quota-soft|set|memory|4096', 'quota-soft', 'quota-soft|1',
  'quota-soft|set|watches|1', 'help|x', 'nonsense', '',
]

test.skipIf(typeof peer === 'string')(`commands of xenstore-control are answered alike${absent}`, async () => {
  const client = await PeerClient.connect((peer as ServerProcess).socket)
  const ours = new StoreHarness().client()
  // How a limit is described is nobody's contract: its name and number are.
  const bare = (answer: string): string => answer.replace(/^(\S+ *: +\d+) .*$/gm, '$1')
  for (const words of COMMANDS) {
    const body = `${words.replaceAll('|', '\0')}\0`
    const answer = ours.ask(STORE_OPS.CONTROL, Uint8Array.from(body, (c) => c.charCodeAt(0)))
    expect(`${words}: ${bare(answer!)}`).toBe(`${words}: ${bare(await client.ask(STORE_OPS.CONTROL, body))}`)
  }
  client.close()
})

/**
 * What is asked of domains: who they are for xenstored. Domain 0 needs no introduction; the others have none yet. No domain
 * is released that is another's target: xenstored then only forgets that it was.
 */
const ABOUT_DOMAINS: readonly (readonly [keyof typeof STORE_OPS, string])[] = [
  ...[0, 1, 2, 0x7ff0, 0x7fff].flatMap((id) => ([
    ['IS_DOMAIN_INTRODUCED', `${id}`], ['GET_DOMAIN_PATH', `${id}`], ['RESUME', `${id}`], ['RELEASE', `${id}`],
    ['SET_TARGET', `${id}|0`], ['SET_TARGET', `0|${id}`], ['SET_TARGET', `${id}|1`],
  ] as const)),
  ['INTRODUCE', '3|77|5'], ['IS_DOMAIN_INTRODUCED', '3'], ['RESUME', '3'], ['SET_TARGET', '3|0'],
  ['RELEASE', '3'], ['IS_DOMAIN_INTRODUCED', '3'], ['RELEASE', '3'], ['IS_DOMAIN_INTRODUCED', '0'],
]

test.skipIf(typeof peer === 'string')(`who is introduced, and what may be done with it, is answered alike${absent}`, async () => {
  const client = await PeerClient.connect((peer as ServerProcess).socket)
  const harness = new StoreHarness({ pages: true })
  const ours = harness.client()
  const differences: string[] = []
  for (const [op, words] of ABOUT_DOMAINS) {
    const body = `${words.replaceAll('|', '\0')}\0`
    const [answer, wanted] = [ours.ask(STORE_OPS[op], Uint8Array.from(body, (c) => c.charCodeAt(0))), await client.ask(STORE_OPS[op], body)]
    if (answer !== wanted) differences.push(`${op} ${words}: ours ${answer}, xenstored ${wanted}`)
  }
  client.close()
  expect(differences).toEqual([])
})

describe.skipIf(typeof peer === 'string')(`programs of Xen at this library's server${absent}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-test-xenstore-'))
  const path = join(folder, 'socket')
  let door: XenStoreListener | undefined

  beforeAll(async () => {
    const server: XenStoreServer = new XenStoreServer({
      store: new XenStore(),
      onWork: () => setImmediate(() => server.process()),
    })
    door = await listenXenStore(server, path)
  })

  afterAll(async () => {
    await door?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  const run = (name: string, ...words: string[]): Promise<{ stdout: string; stderr: string }> =>
    promisify(execFile)(findXenProgram(name), words, { env: { ...process.env, XENSTORED_PATH: path } })

  test('test-xenstore is content', async () => {
    const { stdout, stderr } = await run('test-xenstore', '-i', '50')
    expect(stderr).toBe('')
    expect(stdout.trim().split('\n').length).toBeGreaterThanOrEqual(12)
    expect(stdout).not.toMatch(/fail/i)
  }, 60_000)

  test('xenstore-control shows and sets limits', async () => {
    expect(await run('xenstore-control', 'check')).toEqual({ stdout: 'OK\n', stderr: '' })
    await run('xenstore-control', 'quota', 'set', 'watches', '64')
    expect((await run('xenstore-control', 'quota')).stdout).toMatch(/^watches {10}: {7}64 /m)
    expect((await run('xenstore-control', 'quota', '0')).stdout).toMatch(/^Domain 0:\nnodes {11}: +\d+\nwatches /)
    await expect(run('xenstore-control', 'nonsense')).rejects.toThrow('Command failed')
  })
})
