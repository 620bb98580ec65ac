/** An editor nobody here wrote at guests, by the Debug Adapter Protocol: it stops them, looks around, steps both ways, and leaves them as they were. Its disassembly is objdump's. */
import { execFileSync } from 'node:child_process'
import { readFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DebugClient } from '@vscode/debugadapter-testsupport'
import { afterEach, describe, expect, test } from 'vitest'
import { debugAdapter, recordRun } from '../../src/debug/index.ts'
import { Host, type Domain } from '../../src/index.ts'
import { builtModule } from '../support/bundle.ts'
import { buildMini } from '../support/build-mini.ts'
import { openEditor, type TestEditor } from '../support/dap-client.ts'
import { hasObjdump, listing } from '../support/objdump.ts'

const mini = buildMini('pv64', { variables: { STRIP: '', WARNINGS: '-g' } })
const lacking = mini.reason ?? (hasObjdump() ? undefined : 'no objdump')
const ends: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function guest(): Promise<{ readonly host: Host; readonly domain: Domain }> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16, idle: 'wait', seed: 3, bootTime: new Date(0) })
  ends.push(() => host.shutdown())
  const domain = await host.createDomain({ name: 'debugged', memory: 8, kernel: readFileSync(mini.path!) })
  await domain.console.waitFor('mini> ')
  return { host, domain }
}

async function editorAt(target: Parameters<typeof openEditor>[0]): Promise<TestEditor> {
  const editor = await openEditor(target)
  ends.push(() => editor.close())
  return editor
}

const text = (data: string | undefined): string => Buffer.from(data ?? '', 'base64').toString('latin1').replace(/\0[^]*/, '')

/** Where the innermost frame is, by name. */
async function where({ client }: TestEditor, threadId = 1): Promise<{ readonly names: readonly string[]; readonly address: string; readonly frameId: number }> {
  const { stackFrames } = (await client.stackTraceRequest({ threadId })).body
  return { names: stackFrames.map(({ name }) => name), address: stackFrames[0]!.instructionPointerReference!, frameId: stackFrames[0]!.id }
}

async function registers({ client }: TestEditor, frameId: number): Promise<{ readonly reference: number; readonly values: Readonly<Record<string, string>> }> {
  const [scope] = (await client.scopesRequest({ frameId })).body.scopes
  const { variables } = (await client.variablesRequest({ variablesReference: scope!.variablesReference })).body
  return { reference: scope!.variablesReference, values: Object.fromEntries(variables.map(({ name, value }) => [name, value])) }
}

describe.skipIf(lacking !== undefined)(`an editor${lacking === undefined ? '' : `, SKIPPED: ${lacking}`}`, { timeout: 60_000 }, () => {
  test('stops at a function, shows stack, registers, memory and code, changes them, and leaves the guest running', async () => {
    const { host, domain } = await guest()
    const editor = await editorAt({ host, domain: 'debugged' })
    const { client, capabilities, stopped } = editor
    expect(capabilities).toMatchObject({ supportsDisassembleRequest: true, supportsReadMemoryRequest: true, supportsFunctionBreakpoints: true, supportsInstructionBreakpoints: true })
    const set = (await client.setFunctionBreakpointsRequest({ breakpoints: [{ name: 'run_echo' }, { name: 'no_such_function' }] })).body.breakpoints
    expect(set.map(({ verified }) => verified)).toEqual([true, false])
    expect(await stopped(() => client.configurationDoneRequest())).toMatchObject({ reason: 'entry', threadId: 1, allThreadsStopped: true })
    expect((await client.threadsRequest()).body.threads).toEqual([{ id: 1, name: 'vCPU 0' }])

    void domain.console.write('echo seen by an editor\n')
    expect(await stopped(() => client.continueRequest({ threadId: 1 }))).toMatchObject({ reason: 'function breakpoint', hitBreakpointIds: [set[0]!.id] })
    const place = await where(editor)
    expect(place.names[0]).toBe('run_echo')
    expect(place.names.slice(1)).toContainEqual(expect.stringMatching(/\brun\b.*\+/))
    const { reference, values } = await registers(editor, place.frameId)
    expect(values['rip']).toContain(`${place.address} <run_echo`)
    const rest = values['rdi']!.split(' ')[0]!
    expect(text((await client.send('readMemory', { memoryReference: rest, count: 32 })).body?.data)).toBe('seen by an editor')

    // Ten instructions from there on, and the three before: as objdump has them.
    const lines: { readonly address: bigint; readonly text: string }[] = []
    for await (const { address, text: said } of listing(['-d', mini.path!], 64)) lines.push({ address: BigInt.asUintN(64, BigInt(address)), text: said })
    const at = lines.findIndex(({ address }) => address === BigInt(place.address))
    const { instructions } = (await client.disassembleRequest({ memoryReference: place.address, instructionOffset: -3, instructionCount: 13 })).body!
    expect(instructions.map(({ address, instruction }) => `${BigInt(address).toString(16)} ${instruction.replace(/\s+/g, ' ')}`))
      .toEqual(lines.slice(at - 3, at + 10).map((line) => `${line.address.toString(16)} ${line.text.replace(/\s+/g, ' ')}`))

    await client.send('writeMemory', { memoryReference: rest, data: Buffer.from('SEEN').toString('base64') })
    const before = values['rbx']!.split(' ')[0]!
    expect((await client.setVariableRequest({ variablesReference: reference, name: 'rbx', value: '0x1234' })).body.value).toBe('0x0000000000001234')
    expect((await client.evaluateRequest({ expression: '$rbx' })).body.result).toBe('0x0000000000001234')
    await client.setVariableRequest({ variablesReference: reference, name: 'rbx', value: before })
    expect((await client.evaluateRequest({ expression: 'domains', context: 'repl' })).body.result).toMatch(/^0 Domain-0 .*\n1 debugged /)
    expect((await client.evaluateRequest({ expression: 'run_echo' })).body.result).toContain('<run_echo>')

    // Wrong requests are refused, and change nothing.
    for (const wrong of [
      () => client.send('readMemory', { memoryReference: 'nowhere', count: 4 }), () => client.scopesRequest({ frameId: 9999 }), () => client.variablesRequest({ variablesReference: -1 }),
      () => client.stackTraceRequest({ threadId: 77 }), () => client.disassembleRequest({ memoryReference: '0x0', instructionCount: 1e9 }), () => client.gotoRequest({ threadId: 1, targetId: 1 }),
      () => client.setVariableRequest({ variablesReference: reference, name: 'rbx', value: 'much' }), () => client.send('writeMemory', { memoryReference: '0x8', data: 'AAAA' }), () => client.stepBackRequest({ threadId: 1 }),
      () => client.customRequest('constructor'), () => client.launchRequest({}),
    ]) await expect(wrong()).rejects.toThrow()
    expect((await client.send('readMemory', { memoryReference: '0x8', count: 4 })).body).toMatchObject({ data: '', unreadableBytes: 4 })

    await client.disconnectRequest({})
    await editor.served
    await domain.console.waitFor(/^SEEN by an editor$/)
    await domain.console.write('echo and on it goes\n')
    await domain.console.waitFor(/^and on it goes$/)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('steps into, over and out of calls, and back; goes back to who wrote, and to the beginning', async () => {
    const { host, domain } = await guest()
    const run = await recordRun(host)
    ends.push(() => run.end())
    await domain.console.write('echo before\n')
    await domain.console.waitFor(/^before$/)
    const editor = await editorAt({ host, domain: 'debugged', run })
    const { client, stopped } = editor
    await client.setFunctionBreakpointsRequest({ breakpoints: [{ name: 'shell_input' }] })
    await stopped(() => client.configurationDoneRequest())
    expect(await stopped(() => client.reverseContinueRequest({ threadId: 1 }))).toMatchObject({ reason: 'function breakpoint' })
    const start = await where(editor)
    expect(start.names[0]).toBe('shell_input')

    expect(await stopped(() => client.stepInRequest({ threadId: 1 }))).toMatchObject({ reason: 'step' })
    const second = await where(editor)
    expect(second.address).not.toBe(start.address)
    expect(await stopped(() => client.stepBackRequest({ threadId: 1 }))).toMatchObject({ reason: 'step' })
    expect((await where(editor)).address).toBe(start.address)

    // Over instructions until behind a call: the function is the same all the way.
    let isBehindCall = false
    for (let step = 0; step < 60 && !isBehindCall; step += 1) {
      const { address } = await where(editor)
      const [next] = (await client.disassembleRequest({ memoryReference: address, instructionCount: 1 })).body!.instructions
      await stopped(() => client.nextRequest({ threadId: 1 }))
      expect((await where(editor)).names[0]).toMatch(/^shell_input/)
      isBehindCall = next!.instruction.startsWith('call')
    }
    expect(isBehindCall).toBe(true)
    expect(await stopped(() => client.reverseContinueRequest({ threadId: 1 }))).toMatchObject({ reason: 'function breakpoint' })
    expect(await stopped(() => client.stepOutRequest({ threadId: 1 }))).toMatchObject({ reason: 'step' })
    expect((await where(editor)).names[0]).toMatch(/^(kernel_main|serve)\+/)

    // The beginning of what was recorded, and forwards again to where it stood.
    await client.setFunctionBreakpointsRequest({ breakpoints: [] })
    expect(await stopped(() => client.reverseContinueRequest({ threadId: 1 }))).toMatchObject({ reason: 'entry', description: expect.stringContaining('beginning') })
    const data = (await client.dataBreakpointInfoRequest({ name: 'typed,1' })).body
    expect(data.dataId === null || data.accessTypes?.includes('write')).toBe(true)
    await client.customRequest('setInstructionBreakpoints', { breakpoints: [{ instructionReference: start.address }] })
    expect(await stopped(() => client.continueRequest({ threadId: 1 }))).toMatchObject({ reason: 'instruction breakpoint' })
    expect((await where(editor)).names[0]).toBe('shell_input')
    await client.disconnectRequest({})
    await editor.served
    await domain.console.write('echo now as ever\n')
    await domain.console.waitFor(/^now as ever$/)
  })

  test('watches memory, pauses what runs, takes breakpoints meanwhile, and hears what the console says and how it ends', async () => {
    const { host, domain } = await guest()
    const editor = await editorAt({ host, domain: 'debugged' })
    const { client, stopped } = editor
    const hot = (await client.dataBreakpointInfoRequest({ name: `${symbol('hot_rounds')},8` })).body
    expect(hot.accessTypes).toContain('write')
    await client.setDataBreakpointsRequest({ breakpoints: [{ dataId: hot.dataId!, accessType: 'write' }] })
    await stopped(() => client.configurationDoneRequest())
    void domain.console.write('hot 4\n')
    expect(await stopped(() => client.continueRequest({ threadId: 1 }))).toMatchObject({ reason: 'data breakpoint' })
    expect((await where(editor)).names[0]).toMatch(/^run_hot\+/)
    await client.setDataBreakpointsRequest({ breakpoints: [] })
    await client.continueRequest({ threadId: 1 })
    await expect(client.stackTraceRequest({ threadId: 1 })).rejects.toThrow('notStopped')
    expect(await stopped(() => client.setFunctionBreakpointsRequest({ breakpoints: [{ name: 'shell_timer' }] }))).toMatchObject({ reason: 'function breakpoint' })
    await client.setFunctionBreakpointsRequest({ breakpoints: [] })
    await client.continueRequest({ threadId: 1 })
    expect(await stopped(() => client.pauseRequest({ threadId: 1 }))).toMatchObject({ reason: 'pause' })
    void domain.console.write('hot 0\necho heard\npoweroff\n')
    let said = ''
    client.on('output', ({ body }: { readonly body: { readonly output: string } }) => { said += body.output })
    await Promise.all([client.waitForEvent('terminated'), client.continueRequest({ threadId: 1 })])
    expect(said).toContain('heard')
    await host.until('it is gone', () => !domain.exists)
  })

  test('is stopped by a breakpoint in a page that changes, of which nothing is in the page', async () => {
    const { host, domain } = await guest()
    const editor = await editorAt({ host, domain: 'debugged' })
    const { client, stopped } = editor
    await client.setFunctionBreakpointsRequest({ breakpoints: [{ name: 'run_echo' }] })
    await stopped(() => client.configurationDoneRequest())
    const type = (line: string): Promise<{ readonly reason: string }> => stopped(async () => {
      await client.continueRequest({ threadId: 1 })
      await domain.console.write(line)
    })
    expect(await type('echo first\n')).toMatchObject({ reason: 'function breakpoint' })
    const { address } = await where(editor)
    const write = (bytes: Uint8Array): Promise<unknown> => client.send('writeMemory', { memoryReference: address, data: Buffer.from(bytes).toString('base64') })
    const code = async (): Promise<Buffer> => Buffer.from((await client.send('readMemory', { memoryReference: address, count: 4 })).body!.data!, 'base64')
    const before = await code()
    // It returns at once now: what is typed is no longer said.
    await write(Uint8Array.of(0xc3))
    expect(await type('echo second\n')).toMatchObject({ reason: 'function breakpoint' })
    expect([(await where(editor)).address, (await code()).toString('hex')]).toEqual([address, `c3${before.subarray(1).toString('hex')}`])
    await write(before)
    expect(await type('echo third\n')).toMatchObject({ reason: 'function breakpoint' })
    await client.disconnectRequest({})
    await domain.console.waitFor(/^third$/)
    expect(domain.console.text().split('\n').filter((line) => /^(first|second|third)\r?$/.test(line)).map((line) => line.trim())).toEqual(['second', 'third'])
  })

  test('is served by the command, which launches a description file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'paravirt-dap-'))
    ends.push(async () => rmSync(folder, { recursive: true }))
    writeFileSync(join(folder, 'kernel'), readFileSync(mini.path!))
    writeFileSync(join(folder, 'guest.cfg'), 'name = "app"\nmemory = 8\nkernel = "kernel"\n')
    const client = new DebugClient(process.execPath, `${await builtModule('src/node/cli.ts')} dap`, 'paravirt', { shell: true, cwd: folder })
    client.defaultTimeout = 50_000
    await client.start()
    ends.push(() => client.stop())
    await client.initializeRequest()
    await expect(client.launchRequest({ program: 'no-such-file.cfg' } as never)).rejects.toThrow('no-such-file.cfg cannot be read')
    await Promise.all([client.waitForEvent('initialized'), client.launchRequest({ program: 'guest.cfg', memory: '64M' } as never)])
    await client.setFunctionBreakpointsRequest({ breakpoints: [{ name: 'kernel_main' }] })
    await Promise.all([client.waitForEvent('stopped'), client.configurationDoneRequest()])
    await Promise.all([client.waitForEvent('stopped'), client.continueRequest({ threadId: 1 })])
    const [frame] = (await client.stackTraceRequest({ threadId: 1 })).body.stackFrames
    expect(frame!.name).toBe('kernel_main')
    await Promise.all([client.waitForEvent('stopped'), client.stepBackRequest({ threadId: 1 })])
    await client.terminateRequest()
  })

  test('is asked of code as well, and refuses what is wrong', async () => {
    const { host } = await guest()
    const events: string[] = []
    const adapter = debugAdapter({ launch: () => ({ host, domain: 'debugged' }), event: (name) => events.push(name) })
    await expect(adapter.request('threads')).rejects.toMatchObject({ code: 'INVALID_STATE' })
    await adapter.request('launch', {})
    const other = debugAdapter({ launch: () => ({ host, domain: 'debugged' }), event: () => undefined })
    await expect(other.request('launch', {})).rejects.toMatchObject({ code: 'BUSY' })
    await expect(other.request('initialize', 'nothing')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(debugAdapter({ launch: () => ({ host, domain: 'nobody' }), event: () => undefined }).request('launch')).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND' })
    expect(() => debugAdapter({ launch: 1, event: 2 } as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    adapter.close()
    await expect(adapter.request('threads')).rejects.toMatchObject({ code: 'CLOSED' })
    expect(events).toEqual(['capabilities', 'initialized'])
    expect(host.domain('debugged').info().paused).toBe(false)
  })
})

/** Where objdump says that a symbol is. */
function symbol(name: string): string {
  const found = new RegExp(`^([0-9a-f]+) .* ${name}$`, 'm').exec(execFileSync('objdump', ['-t', mini.path!], { encoding: 'utf8' }))
  return `0x${found![1]!}`
}
