/** The XenAPI of a simulated pool, by clients that nobody here wrote: npm's `xen-api`, and Python's `xmlrpc.client`. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { listenXapi, type XapiListener } from '../../src/node/index.ts'
import { NULL_REF, XapiPool } from '../../src/xapi/index.ts'

/** What is used of the package, which has no types. */
interface Xapi {
  connect(): Promise<void>
  disconnect(): Promise<void>
  call(method: string, ...given: unknown[]): Promise<unknown>
  callAsync(method: string, ...given: unknown[]): Promise<unknown>
  readonly objectsFetched: Promise<void>
  readonly objects: { readonly all: Readonly<Record<string, Record_>>; on(event: string, listener: (items: Readonly<Record<string, Record_>>) => void): void }
}
type Record_ = Readonly<Record<string, unknown>> & { readonly $type: string; readonly $ref: string; readonly name_label: string; readonly uuid: string }

let pool: XapiPool
let listener: XapiListener
let xapi: Xapi
beforeAll(async () => {
  pool = await XapiPool.boot({ hosts: [{ name: 'one', options: { memory: 64, dom0Memory: 8 } }, { name: 'two', options: { memory: 48, dom0Memory: 8 } }] })
  listener = await listenXapi(pool)
  const { createClient } = await import(createRequire(import.meta.url).resolve('xen-api')) as { createClient(options: object): Xapi }
  xapi = createClient({ url: listener.url, auth: { user: 'root', password: 'password' }, debounce: 20 })
}, 60_000)
afterAll(async () => {
  await xapi.disconnect().catch(() => undefined)
  await listener.close()
  await pool.shutdown()
})

const all = (type: string): Record_[] => Object.values(xapi.objects.all).filter(({ $type }) => $type === type)
const named = (type: string, name: string): Record_ | undefined => all(type).find(({ name_label: label }) => label === name)
/** Waits until the client's own copy of the pool, which follows `event.from`, is so. */
async function seen<T>(what: () => T | undefined | false): Promise<T> {
  for (let tries = 0; tries < 400; tries += 1) {
    const found = what()
    if (found !== undefined && found !== false) return found
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error(`the client has not seen ${String(what)}`)
}

describe('npm\'s xen-api', () => {
  test('connects, lists, creates from a template, starts, hot-plugs, migrates, suspends, and follows what happens', { timeout: 60_000 }, async () => {
    await xapi.connect()
    await xapi.objectsFetched
    expect(all('host').map(({ name_label: name }) => name).sort()).toEqual(['one', 'two'])
    const template = named('VM', 'mini')!
    expect(template['is_a_template']).toBe(true)
    const vm = await xapi.call('VM.clone', template.$ref, 'web') as string
    await xapi.call('VM.provision', vm)
    const network = all('network')[0]!
    await xapi.call('VIF.create', { VM: vm, network: network.$ref, device: '0', MAC: '00:16:3e:00:00:07' })
    await xapi.callAsync('VM.start', vm, false, false)
    const running = await seen(() => (named('VM', 'web')?.['power_state'] === 'Running' ? named('VM', 'web') : undefined))
    const first = running['resident_on'] as string
    const domain = pool.hosts.get(first)!.domain('web')
    expect([domain.uuid, domain.nic(0).name]).toEqual([running.uuid, '00:16:3e:00:00:07'])
    await domain.console.waitFor('tick 3')
    const sr = all('SR')[0]!
    const vdi = await xapi.call('VDI.create', { SR: sr.$ref, name_label: 'data', virtual_size: String(1 << 20) }) as string
    const vbd = await xapi.call('VBD.create', { VM: vm, VDI: vdi, userdevice: '1', bootable: false, mode: 'RW', type: 'Disk' }) as string
    await xapi.callAsync('VBD.plug', vbd)
    expect(domain.disk('xvdb').backendState).toBeGreaterThanOrEqual(2)
    await seen(() => all('VBD').find(({ $ref, currently_attached: plugged }) => $ref === vbd && plugged === true))
    await xapi.call('VDI.resize', vdi, String(2 << 20))
    await seen(() => all('VDI').find(({ $ref }) => $ref === vdi)?.['virtual_size'] === String(2 << 20))
    await expect(xapi.call('VDI.resize', vdi, '1024')).rejects.toMatchObject({ code: 'VDI_SIZE_INVALID' })
    const drive = await xapi.call('VBD.create', { VM: vm, VDI: NULL_REF, userdevice: '3', bootable: false, mode: 'RO', type: 'CD', empty: true }) as string
    const cd = await xapi.call('VDI.create', { SR: sr.$ref, name_label: 'cd', virtual_size: '4096' }) as string
    await xapi.callAsync('VBD.plug', drive)
    await xapi.callAsync('VBD.insert', drive, cd)
    expect([domain.disk('xvdd').facts['target'], domain.disk('xvdd').facts['type']]).toEqual([named('VDI', 'cd')?.uuid ?? expect.any(String), 'cdrom'])
    await expect(xapi.call('VBD.insert', drive, cd)).rejects.toMatchObject({ code: 'VBD_NOT_EMPTY' })
    await xapi.callAsync('VBD.eject', drive)
    expect(domain.disk('xvdd').facts['target']).toBeUndefined()
    await expect(xapi.call('VBD.eject', drive)).rejects.toMatchObject({ code: 'VBD_IS_EMPTY' })
    await expect(xapi.call('VBD.insert', vbd, cd)).rejects.toMatchObject({ code: 'VBD_NOT_REMOVABLE_MEDIA' })
    await xapi.callAsync('VBD.unplug', drive)
    await expect(xapi.call('VDI.destroy', vdi)).rejects.toMatchObject({ code: 'VDI_IN_USE' })
    const other = [...pool.hosts.keys()].find((ref) => ref !== first)!
    await xapi.callAsync('VM.pool_migrate', vm, other, {})
    await seen(() => named('VM', 'web')?.['resident_on'] === other)
    expect([pool.hosts.get(first)!.domains().length, pool.hosts.get(other)!.domain('web').disk('xvdb').device]).toEqual([0, 51728])
    await xapi.callAsync('VBD.unplug', vbd)
    await xapi.callAsync('VM.suspend', vm)
    await seen(() => named('VM', 'web')?.['power_state'] === 'Suspended')
    await xapi.callAsync('VM.resume', vm, false, false)
    // What happens on the host itself shows, too.
    const host = [...pool.hosts.values()].find((one) => one.domains().length === 1)!
    host.domain('web').pause()
    await seen(() => named('VM', 'web')?.['power_state'] === 'Paused')
    host.domain('web').unpause()
    await xapi.callAsync('VM.hard_shutdown', vm)
    await seen(() => named('VM', 'web')?.['power_state'] === 'Halted')
    await xapi.call('VM.destroy', vm)
    await seen(() => named('VM', 'web') === undefined)
  })

  test('gets XAPI\'s codes for what is wrong', async () => {
    await expect(xapi.call('VM.start', NULL_REF, false, false)).rejects.toMatchObject({ code: 'HANDLE_INVALID' })
    await expect(xapi.call('VM.start', named('VM', 'mini')!.$ref, false, false)).rejects.toMatchObject({ code: 'VM_IS_TEMPLATE' })
    await expect(xapi.call('VM.fly', NULL_REF)).rejects.toMatchObject({ code: 'MESSAGE_METHOD_UNKNOWN' })
    const vm = await xapi.call('VM.clone', named('VM', 'mini')!.$ref, 'big') as string
    await xapi.call('VM.provision', vm)
    await xapi.call('VM.set_memory', vm, String(1 << 30))
    await expect(xapi.callAsync('VM.start', vm, false, false)).rejects.toMatchObject({ code: 'HOST_NOT_ENOUGH_FREE_MEMORY' })
    await expect(xapi.call('VM.pause', vm)).rejects.toMatchObject({ code: 'VM_BAD_POWER_STATE', params: [vm, 'running', 'halted'] })
    await xapi.call('VM.destroy', vm)
  })

  test('cancels tasks, whose calls undo themselves, and is told of another operation of the same machine', async () => {
    const vm = await xapi.call('VM.clone', named('VM', 'mini')!.$ref, 'busy') as string
    await xapi.call('VM.provision', vm)
    const task = async (name: string, ...given: unknown[]): Promise<string> => xapi.call(`Async.${name}`, ...given) as Promise<string>
    const ended = (ref: string): Promise<Record_> => seen(() => all('task').find(({ $ref, status }) => $ref === ref && status !== 'pending'))
    const starting = await task('VM.start', vm, false, false)
    // It comes while the first is under way, or when it is over.
    await expect(xapi.call('VM.start', vm, false, false)).rejects.toMatchObject({ code: expect.stringMatching(/^(OTHER_OPERATION_IN_PROGRESS|VM_BAD_POWER_STATE)$/) })
    expect((await ended(starting))['status']).toBe('success')
    const at = await xapi.call('VM.get_resident_on', vm) as string
    const domain = pool.hosts.get(at)!.domain('busy')
    // What goes on beside it shows as such, and a cancelled call leaves all as it was.
    const direct = (name: string, ...given: unknown[]): Promise<unknown> => pool.call(name, [session, ...given])
    const session = await pool.call('session.login_with_password', ['root', 'password']) as string
    const suspending = await direct('Async.VM.suspend', vm) as string
    await expect(direct('VM.clean_reboot', vm)).rejects.toMatchObject({ description: ['OTHER_OPERATION_IN_PROGRESS', 'VM', vm, 'VM.suspend'] })
    await direct('task.cancel', suspending)
    expect(await ended(suspending)).toMatchObject({ status: 'cancelled', error_info: ['TASK_CANCELLED', suspending] })
    expect([domain.exists, await xapi.call('VM.get_power_state', vm)]).toEqual([true, 'Running'])
    const migrating = await direct('Async.VM.pool_migrate', vm, [...pool.hosts.keys()].find((ref) => ref !== at)!, {}) as string
    await direct('task.cancel', migrating)
    expect((await ended(migrating))['status']).toBe('cancelled')
    expect([await xapi.call('VM.get_resident_on', vm), [...pool.hosts.values()].flatMap((host) => host.domains()).length]).toEqual([at, 1])
    await domain.console.write('echo still here\n')
    await domain.console.waitFor(/^still here$/)
    await expect(direct('VM.resume_on', vm, 'OpaqueRef:none')).rejects.toMatchObject({ description: ['VM_BAD_POWER_STATE', vm, 'suspended', 'running'] })
    await direct('VM.suspend', vm)
    await expect(direct('VM.resume_on', vm, 'OpaqueRef:none')).rejects.toMatchObject({ description: ['HANDLE_INVALID', 'host', 'OpaqueRef:none'] })
    await direct('VM.hard_shutdown', vm)
    await direct('VM.destroy', vm)
  })
})

const SCRIPT = `
import sys, xmlrpc.client
server = xmlrpc.client.ServerProxy(sys.argv[1])
def ok(answer):
    assert answer['Status'] == 'Success', answer
    return answer['Value']
bad = server.session.login_with_password('root', 'wrong')
print(bad['Status'], bad['ErrorDescription'][0])
session = ok(server.session.login_with_password('root', 'password', '1.0', 'test'))
print(sorted(h['name_label'] for h in ok(server.host.get_all_records(session)).values()))
template = ok(server.VM.get_by_name_label(session, 'mini'))[0]
vm = ok(server.VM.clone(session, template, 'from <python> & co'))
ok(server.VM.provision(session, vm))
ok(server.VM.add_to_other_config(session, vm, 'key', 'value'))
token = ok(server.event_from(session)) if False else ok(getattr(server, 'event.from')(session, ['VM'], '', 1.0))['token']
ok(server.VM.start(session, vm, True, False))
events = ok(getattr(server, 'event.from')(session, ['VM'], token, 5.0))
print([(e['class'], e['operation'], e['snapshot']['power_state'], e['snapshot']['name_label']) for e in events['events']])
ok(server.VM.unpause(session, vm))
print(ok(server.VM.get_power_state(session, vm)), ok(server.VM.get_other_config(session, vm))['key'])
ok(server.VM.hard_shutdown(session, vm))
ok(server.VM.destroy(session, vm))
ok(server.session.logout(session))
print(server.VM.get_all(session)['ErrorDescription'][0], 'VM.start' in server.system.listMethods())
`

test('Python\'s xmlrpc.client does the same by XML-RPC', { timeout: 30_000 }, async () => {
  const child = spawn('python3', ['-c', SCRIPT, listener.url], { stdio: ['ignore', 'pipe', 'pipe'] })
  let [out, err] = ['', '']
  child.stdout.on('data', (text: Buffer) => { out += text.toString() })
  child.stderr.on('data', (text: Buffer) => { err += text.toString() })
  await once(child, 'close')
  expect([out.split('\n'), err]).toEqual([[
    'Failure SESSION_AUTHENTICATION_FAILED', "['one', 'two']", "[('vm', 'mod', 'Paused', 'from <python> & co')]", 'Running value', 'SESSION_INVALID True', '',
  ], ''])
})

test('what is no request is answered as such, and nobody is harmed', async () => {
  const post = async (path: string, body: string): Promise<string> => (await fetch(listener.url + path, { method: 'POST', body })).text()
  expect(JSON.parse(await post('/jsonrpc', '{'))).toMatchObject({ error: { code: -32700 } })
  expect(JSON.parse(await post('/jsonrpc', '{"method": 5}'))).toMatchObject({ error: { code: -32600 } })
  for (const body of ['', '<', '<a/>', '<methodCall/>', '<!DOCTYPE a [<!ENTITY x "y">]><methodCall><methodName>&x;</methodName></methodCall>', '<methodCall><methodName>__proto__.x</methodName></methodCall>']) {
    expect(await post('/', body)).toContain('Failure')
  }
  for (const method of ['VM.__proto__', 'VM.get___proto__', '__proto__.get_all', 'VM.constructor', 'Async.', 'Async.session.logout']) {
    expect(JSON.parse(await post('/jsonrpc', JSON.stringify({ id: 1, method, params: [] })))).toHaveProperty('error')
  }
})
