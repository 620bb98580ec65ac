/**
 * A unikernel as MirageOS's are, built of Debian's packages: a program in OCaml with OCaml's run-time system, MirageOS's ciphers, in OCaml
 * and in C, and a C library, all in ring 0 of a PVH guest. What it says is what the same program says on
 * the system underneath, and what Node's ciphers make of the same.
 */
import { execFileSync } from 'node:child_process'
import { createCipheriv, createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { transportPair } from '../../src/toolstack/index.ts'
import { buildUnikernel, whyNoUnikernel, type Unikernel } from '../support/build-unikernel.ts'
import { ByteCollector } from '../support/byte-collector.ts'
import { hostsOfTests } from '../support/mini.ts'

const missing = whyNoUnikernel()
const PATIENCE = 180_000
const TEXT = 'The quick brown fox jumps over the lazy dog, and so on.'
const QUESTIONS = [
  'floats', 'exceptions', 'marshal', 'depth', 'collect 3000', `sha256 ${TEXT}`, `sha512 ${TEXT}`, `gcm ${TEXT}`, `chacha ${TEXT}`, 'sha256 ', 'nonsense',
] as const

/** What Node's ciphers say. */
function sealed(cipher: 'aes-256-gcm' | 'chacha20-poly1305'): string {
  const made = createCipheriv(cipher as 'aes-256-gcm', Buffer.from('0123456789abcdef0123456789abcdef'), Buffer.from('unikernel 01'), { authTagLength: 16 })
  made.setAAD(Buffer.from('header'))
  return Buffer.concat([made.update(TEXT), made.final(), made.getAuthTag()]).toString('hex')
}

describe.skipIf(missing !== undefined)(`A unikernel in OCaml${missing ?? ''}`, { timeout: PATIENCE }, () => {
  const boot = hostsOfTests({ memory: 128, dom0Memory: 8 })
  let unikernel: Unikernel
  beforeAll(() => {
    unikernel = buildUnikernel()
  }, PATIENCE)
  afterAll(() => unikernel?.remove())

  const create = { name: 'unikernel', type: 'pvh', memory: 48 } as const

  test('says what the same program says on the system underneath, and what other ciphers say', async () => {
    const host = await boot()
    const domain = await host.createDomain({ ...create, kernel: readFileSync(unikernel.kernel) })
    await domain.console.waitFor('words of 64 bits')
    for (const question of [...QUESTIONS, 'quit']) await domain.console.write(`${question}\r`)
    await domain.console.waitFor('the end')
    expect(await domain.waitForShutdown()).toBe('poweroff')
    const native = execFileSync(unikernel.native, { input: QUESTIONS.map((line) => `${line}\n`).join(''), encoding: 'utf8' })
    const text = domain.console.text().replaceAll('\r', '')
    expect(text.slice(text.indexOf('OCaml '))).toBe(native)
    expect(text).toContain(`sha256 ${TEXT}: ${createHash('sha256').update(TEXT).digest('hex')}\n`)
    expect(text).toContain(`gcm ${TEXT}: ${sealed('aes-256-gcm')}\n`)
    expect(text).toContain(`chacha ${TEXT}: ${sealed('chacha20-poly1305')}\n`)
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('is saved, moves while it runs, and goes on with all that it has', async () => {
    const [first, second] = [await boot(), await boot()]
    let domain = await first.createDomain({ ...create, kernel: readFileSync(unikernel.kernel) })
    const answers = async (): Promise<void> => {
      await domain.console.write(`sha512 ${TEXT}\r`)
      await domain.console.waitFor(`: ${createHash('sha512').update(TEXT).digest('hex')}`)
    }
    await domain.console.waitFor('words of 64 bits')
    const file = new ByteCollector()
    await domain.save(file)
    domain = await second.restore(file.bytes(), { trust: 'all' })
    await domain.console.waitFor('unikernel: restored')
    await answers()
    const { ends } = transportPair()
    const [moved] = await Promise.all([first.receiveMigration(ends[1], { trust: 'all' }), domain.migrate(ends[0])])
    domain = moved
    await answers()
    expect(await domain.shutdown()).toBe('poweroff')
    for (const host of [first, second]) expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})
