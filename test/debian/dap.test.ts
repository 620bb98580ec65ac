/** An editor at Debian's stock Linux: the stack that it shows, unwound by the kernel's own tables, is the one that Linux prints a moment later when it crashes. */
import { expect, test } from 'vitest'
import { explainCrash } from '../../src/debug/index.ts'
import { debianGuests } from '../../src/node/index.ts'
import { linux } from '../../src/testing/index.ts'
import { openEditor } from '../support/dap-client.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'

const lacking = whyMissing(...LINUX_FILES)

test.skipIf(lacking !== undefined)(`an editor shows who has called in a stock Linux as Linux does${lacking ?? ''}`, { timeout: 300_000 }, async () => {
  await using shell = await linux({ guests: debianGuests(GUESTS_FOLDER), memory: 128 }).start()
  const { host, domain } = shell
  const editor = await openEditor({ host, domain: 'linux' })
  const { client, stopped } = editor
  await client.setFunctionBreakpointsRequest({ breakpoints: [{ name: 'panic' }] })
  await stopped(() => client.configurationDoneRequest())
  void domain.console.write('echo c > /proc/sysrq-trigger\r')
  expect(await stopped(() => client.continueRequest({ threadId: 1 }))).toMatchObject({ reason: 'function breakpoint' })
  const frames = (await client.stackTraceRequest({ threadId: 1 })).body.stackFrames
  const shown = frames.filter(({ name }) => name.includes('+') || name === 'panic').map(({ name }) => name.replace(/\/.*/, ''))
  // What is interrupted in a process has no function of the kernel's.
  expect(frames.at(-1)!.instructionPointerReference).toMatch(/^0x0000[0-7]/)
  expect(frames.every(({ presentationHint }) => presentationHint === undefined)).toBe(true)
  expect((await client.evaluateRequest({ expression: 'tasks', context: 'repl' })).body.result).toMatch(/^ +1 +0 R +0 sh$/m)
  await client.setFunctionBreakpointsRequest({ breakpoints: [] })
  await Promise.race([client.continueRequest({ threadId: 1 }), client.waitForEvent('terminated')])
  await domain.waitForShutdown()
  const said = explainCrash(domain.console.text())!.calls.filter(({ isCertain }) => isCertain).map(({ symbol, offset }) => `${symbol}+0x${offset.toString(16)}`)
  expect(said.length).toBeGreaterThan(6)
  // Linux begins with the function that prints, and stands a few instructions further on in panic.
  expect(shown.slice(1)).toEqual(said.slice(said.findIndex((one) => one.startsWith('panic+')) + 1))
  await editor.close()
})
