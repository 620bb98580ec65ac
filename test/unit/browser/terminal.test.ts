/** A console at a terminal. */
import { expect, test } from 'vitest'
import { connectTerminal, type TerminalLike } from '../../../src/browser/index.ts'
import { hostsOfTests, startMini } from '../../support/mini.ts'

const boot = hostsOfTests({ memory: 64, dom0Memory: 16 })

/** A terminal that is as slow as it is told. */
class SlowTerminal implements TerminalLike {
  shown = ''
  disposed = 0
  waiting: (() => void)[] = []
  slow = false
  private listener: (data: string) => void = () => undefined
  write(data: Uint8Array, then: () => void = () => undefined): void {
    this.shown += new TextDecoder().decode(data)
    if (this.slow) this.waiting.push(then)
    else then()
  }
  onData(listener: (data: string) => void) {
    this.listener = listener
    return { dispose: () => void (this.disposed += 1) }
  }
  type(text: string): void {
    for (const letter of text) this.listener(letter)
  }
}

test('it shows what was said before, types in order, and is over with the domain', async () => {
  const host = await boot()
  const domain = await startMini(host)
  const terminal = new SlowTerminal()
  const connection = connectTerminal(domain.console, terminal)
  terminal.type('echo one two three\n')
  await domain.console.waitFor('\none two three\n')
  await host.settled()
  expect(terminal.shown).toContain('mini: a small Xen kernel')
  expect(terminal.shown.replaceAll('\r', '')).toContain('\none two three\n')
  await domain.destroy()
  await connection.closed
  expect(terminal.disposed).toBe(1)
})

test('it is taken off, and the domain goes on', async () => {
  const domain = await startMini(await boot())
  const terminal = new SlowTerminal()
  const connection = connectTerminal(domain.console, terminal)
  terminal.slow = true
  connection.close()
  await connection.closed
  const { shown } = terminal
  await domain.console.write('echo more\n')
  await domain.console.waitFor('\nmore\n')
  expect(terminal.shown).toBe(shown)
})

test('it reads no faster than the terminal shows', async () => {
  const pieces = ['one', 'two', 'three'].map((word) => new TextEncoder().encode(word))
  let taken = 0
  const console = {
    output: async function* () { for (const piece of pieces) { taken += 1; yield piece } },
    write: () => Promise.resolve(),
  }
  const terminal = new SlowTerminal()
  terminal.slow = true
  const { closed } = connectTerminal(console, terminal)
  for (const count of [1, 2, 3]) {
    await new Promise((resolve) => setTimeout(resolve))
    expect(taken).toBe(count)
    terminal.waiting.shift()!()
  }
  await closed
  expect(terminal.shown).toBe('onetwothree')
})

test('what typing fails with is told', async () => {
  const console = { output: async function* (): AsyncGenerator<Uint8Array> { await new Promise(() => undefined) }, write: () => Promise.reject(new Error('gone')) }
  const terminal = new SlowTerminal()
  const { closed } = connectTerminal(console, terminal)
  terminal.type('x')
  await expect(closed).rejects.toThrow('gone')
  expect(terminal.disposed).toBe(1)
})
