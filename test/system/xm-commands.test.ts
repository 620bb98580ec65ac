/** What commands of `paravirt xl` print, over a connection to a host and without processes: laid out as xl of Xen 4.17 prints it, column by column. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { errorText, type Session } from '../../src/node/xl/session.ts'
import { VERBS, runVerb } from '../../src/node/xl/verbs.ts'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { connectHost, Host, serveHost, transportPair, type RemoteHost } from '../../src/index.ts'

// On a machine that does other things besides.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 30_000 })

const folder = mkdtempSync(join(tmpdir(), 'paravirt-xm-'))
let host: Host
let remote: RemoteHost
beforeAll(async () => {
  host = await Host.boot({ memory: 96, dom0Memory: 16, cpus: 4, instructionsPerSecond: 1e8, openDisk: () => new MemoryBlockStore(1 << 20) })
  const { ends } = transportPair()
  serveHost(host, ends[0])
  remote = await connectHost(ends[1])
  writeFileSync(join(folder, 'fc4.cfg'), 'name = "fc4"\ntype = "pv"\nmemory = 8\nmaxmem = 16\nmaxvcpus = 1\ndisk = [ "/g/disk.img,raw,xvda,w" ]\nvif = [ "mac=00:16:3e:00:00:01,bridge=xenbr0" ]\n')
})
afterAll(async () => {
  await host.shutdown()
  rmSync(folder, { recursive: true })
})

/** Runs a command; what it printed, and its error. */
const xm = (...words: string[]): Promise<string> => told('xm', words)
/** The same by its name of today. */
const xl = (line: string): Promise<string> => told('xl', line.split(' '))

async function told(tool: string, words: readonly string[]): Promise<string> {
  let out = ''
  const session: Session = {
    tool, host: remote, signal: new AbortController().signal, typed: (async function* () {})(), path: (name) => join(folder, name),
    print: (text) => { out += text }, printBytes: (bytes) => { out += Buffer.from(bytes).toString('latin1') },
  }
  try {
    await runVerb(session, words[0]!, words.slice(1))
  } catch (error) {
    out += errorText(error)
  }
  return out
}
/** A line of real xl's with its, with its numbers and the letters of states taken for others of as many characters. */
const shaped = (text: string): RegExp => new RegExp(
  `^${text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/\d/g, '[ \\d]').replace(/-b-(---)?(?= )/g, '[-r][-b]-$1')}$`, 'm')

test('create -n shows what a file would make, as xl does', async () => {
  const out = await xm('create', '-n', 'fc4.cfg')
  expect(out).toMatch(/^Parsing config from fc4\.cfg\n\{\n {4}"c_info": \{\n {8}"type": "pv",\n {8}"name": "fc4",\n {8}"run_hotplug_scripts": "True"\n {4}\},\n {4}"b_info": \{\n/)
  expect(out).toContain('        "sched_params": {\n\n        },\n        "claim_mode": "True",\n')
  expect(out).toContain('    "disks": [\n        {\n            "pdev_path": "/g/disk.img",\n            "vdev": "xvda",\n            "format": "raw",\n            "readwrite": 1\n        }\n    ],')
  expect(out).toContain('    "nics": [\n        {\n            "devid": 0,\n            "mac": "00:16:3e:00:00:01",\n            "bridge": "xenbr0"\n        }\n    ],\n    "on_reboot": "restart",\n    "on_soft_reset": "soft_reset"\n}\n')
  expect(host.domains()).toEqual([])
})

test('create, list, list -l, rename, domid, uptime', async () => {
  expect(await xm('create', 'fc4.cfg')).toBe('Started domain fc4, id=1\n')
  await host.domain('fc4').console.waitFor('mini> ')
  expect(await xm('list')).toMatch(shaped('fc4                                          1     8     1     -b----       0.0'))
  const long = JSON.parse(await xm('list', '-l')) as { domid: number; config: { c_info: { name: string }; b_info: { sched_params: unknown } } }[]
  expect(long.map(({ domid, config }) => [domid, config.c_info.name, config.b_info.sched_params])).toEqual([
    [0, 'Domain-0', { sched: 'credit2', weight: 256, cap: 0 }], [1, 'fc4', { sched: 'credit2', weight: 256, cap: 0 }],
  ])
  expect(await xm('rename', 'fc4', 'fc5')).toBe('')
  expect(await xm('domid', 'fc5')).toBe('1\n')
  await xm('rename', 'fc5', 'fc4')
  expect(await xm('uptime')).toMatch(shaped('Name                                ID Uptime\nDomain-0                             0  0:00:36\nfc4                                  1  0:00:29'))
})

test('vcpu-list, vcpu-pin and schedulers', async () => {
  expect(await xm('vcpu-list')).toMatch(/^Name {32}ID {2}VCPU {3}CPU State {3}Time\(s\) Affinity \(Hard \/ Soft\)\n/)
  expect(await xm('vcpu-list', 'fc4')).toMatch(shaped('fc4                                  1     0    1   -b-       7.5  all / all'))
  expect(await xm('vcpu-pin', 'fc4', '0', '0-1', '1')).toBe('')
  expect(await xm('vcpu-list', 'fc4')).toMatch(/ 0-1 \/ 1$/m)
  expect(await xm('vcpu-pin', 'fc4', '0', '9')).toMatch(/^Error: /)
  await xm('vcpu-pin', 'fc4', 'all', 'all', 'all')
  expect(await xm('sched-credit2', '-d', 'fc4', '-w', '512')).toBe('')
  expect(await xm('sched-credit2')).toMatch(/^Cpupool Pool-0: ratelimit=1000us\n/)
  expect(await xm('sched-credit2')).toMatch(shaped('Name                                ID Weight  Cap\nDomain-0                             0    256    0\nfc4                                  1    512    0'))
  expect(await xm('sched-credit2', '-s', '-p', 'Pool-0', '-r', '500')).toBe('')
  expect(await xm('sched-credit2', '-s', '-p', 'Pool-0')).toBe('Cpupool Pool-0: ratelimit=500us\n')
  await xm('sched-credit2', '-s', '-p', 'Pool-0', '-r', '1000')
  expect(await xm('sched-credit')).toBe('')
})

test('pools of CPUs', async () => {
  expect(await xm('cpupool-list')).toMatch(shaped('Name               CPUs   Sched     Active   Domain count\nPool-0               4   credit2       y          2'))
  await xm('cpupool-cpu-remove', 'Pool-0', '2-3')
  expect(await xm('cpupool-create', 'name=fast', 'cpus=2-3', 'sched=credit')).toContain('cpupool name:   fast\nscheduler:      credit\nnumber of cpus: 2\n')
  expect(await xm('cpupool-list', '-c')).toBe('Name               CPU list\nPool-0             0,1\nfast               2,3\n')
  await xm('cpupool-migrate', 'fc4', 'fast')
  expect(await xm('sched-credit')).toMatch(/^Cpupool fast: tslice=30ms ratelimit=1000us migration-delay=0us\nName/)
  expect(await xm('cpupool-destroy', 'fast')).toMatch(/^Error: pool 1 has domains/)
  await xm('cpupool-migrate', 'fc4', 'Pool-0')
  await xm('cpupool-rename', 'fast', 'slow')
  expect(await xm('cpupool-destroy', 'slow')).toBe('')
  await xm('cpupool-cpu-add', 'Pool-0', '2-3')
  expect(await xm('cpupool-destroy', 'nosuch')).toBe('unknown cpupool \'nosuch\'\n')
})

test('info, dmesg, debug-keys, top, claims', async () => {
  const info = await xm('info')
  for (const line of ['nr_cpus                : 4', 'xen_version            : 4.17.7', 'xen_scheduler          : credit2', 'virt_caps              : pv hvm hap gnttab-v1 gnttab-v2', 'xend_config_format     : 4']) {
    expect(info).toContain(`${line}\n`)
  }
  await xm('debug-keys', 'h')
  expect(await xm('dmesg')).toMatch(/\(XEN\) {2}key 'r' \(ascii '72'\) => dump run queues\n/)
  expect(await xm('top', '-b', '-i', '1')).toMatch(/^ {2}Domain-0 [-a-z]{6} +\d+ +0\.0 +16384 +\d+\.\d +\d+ +\d+\.\d +1 +0 +0 +0 +0 +0 +0 +0 +0 +0 +0$/m)
  expect(await xm('claims')).toMatch(shaped('fc4                                          1     8     1     -b----      25.9     0'))
})

test('devices, memory, keys, a core, an updated configuration', async () => {
  expect(await xm('block-list', 'fc4')).toMatch(/^Vdev {2}BE {2}handle state evt-ch ring-ref BE-path {23}\n51712 0 {3}1 {6}1 {5}-1 {5}-1 {7}\/local\/domain\/0\/backend\/vbd\/1\/51712\n$/)
  expect(await xm('network-list', 'fc4')).toMatch(/^Idx BE Mac Addr\. {9}handle state evt-ch {3}tx-\/rx-ring-ref BE-path {23}\n0 {3}0 {2}00:16:3e:00:00:01 {5}0 {5}1 {5}-1 {3}-1\/-1 {11}\/local\/domain\/0\/backend\/vif\/1\/0\n$/)
  expect([await xm('mem-set', 'fc4', '6'), await xm('mem-max', 'fc4', '12m'), await xm('mem-set', 'fc4', 'lots')]).toEqual(['', '', 'invalid memory size: lots\n'])
  expect(await xm('cd-insert', 'fc4', 'xvda', '/cd.iso')).toMatch(/^Error: disk xvda of domain 1 is not removable/)
  expect([await xm('block-attach', 'fc4', ',hdc:cdrom,r'), await xm('cd-insert', 'fc4', 'hdc', '/cd.iso'), await xm('cd-eject', 'fc4', 'hdc')]).toEqual(['', '', ''])
  expect(await xm('block-detach', 'fc4', 'hdc')).toBe('')
  expect(await xm('sysrq', 'fc4', 'h')).toBe('')
  expect(await xm('trigger', 'fc4', 'reset')).toMatch(/^Error: trigger reset/)
  expect([await xm('block-detach', 'fc4', 'xvdq'), await xm('network-detach', 'fc4', '7')]).toEqual(['Error: Device xvdq not connected.\n', 'Unknown device 7.\n'])
  expect(await xm('getenforce')).toBe('Disabled\n')
  expect(await xm('dump-core', 'fc4', 'core')).toBe('')
  expect(readFileSync(join(folder, 'core')).subarray(1, 4).toString()).toBe('ELF')
  writeFileSync(join(folder, 'new.cfg'), 'name = "other"\nmemory = 8\nextra = "from=new"\n')
  expect(await xm('config-update', 'fc4', 'new.cfg')).toBe('')
  expect(host.domain('fc4').currentConfig()).toMatchObject({ name: 'fc4', commandLine: 'from=new', memory: 6, maxMemory: 12 })
  expect(await xm('destroy', 'nosuch')).toBe('nosuch is an invalid domain identifier (rc=-6)\n')
  expect(await xm('metrics')).toMatch(/# EOF\n$/)
})

/** What real xl of Xen 4.17 has printed, from two captures of it, with our host's numbers in the place of its own. */
const GOLDEN: Readonly<Record<string, string>> = {
  'list -v': `Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label
Domain-0                                     0   900     1     r-----      19.2 00000000-0000-0000-0000-000000000000        -                -
fc4                                          1   128     2     -b----      11.0 184f5458-01ad-4991-9e90-0b659a347e60        -                -
`,
  'list fc4': `Name                                        ID   Mem VCPUs\tState\tTime(s)
fc4                                          1   128     2     -b----      11.0
`,
  'list -Z': `Name                                        ID   Mem VCPUs\tState\tTime(s)   Security Label
Domain-0                                     0   900     1     r-----      19.4                -
fc4                                          1   128     2     -b----      11.0                -
`,
  'list -n': `Name                                        ID   Mem VCPUs\tState\tTime(s) NODE Affinity
Domain-0                                     0   900     1     r-----      19.4 all
fc4                                          1   128     2     -b----      11.0 all
`,
  'list -c': `Name                                        ID   Mem VCPUs\tState\tTime(s)         Cpupool
Domain-0                                     0   900     1     r-----      19.5          Pool-0
fc4                                          1   128     2     -b----      11.0          Pool-0
`,
  'channel-list fc4': 'Idx BE state evt-ch ring-ref connection                               \n',
  'uptime -s': ' 08:45:39 up  0:00, Domain-0 (0)\n 08:45:39 up  0:00, fc4 (1)\n',
  'uptime fc4': 'Name                                ID Uptime\nfc4                                  1  0:00:30\n',
  'sched-credit2 -d fc4': 'Name                                ID Weight  Cap\nfc4                                  1    512    0\n',
  'sched-credit2 -s -p Pool-0': 'Cpupool Pool-0: ratelimit=1000us\n',
  'domid fc4': '1\n', 'domname 1': 'fc4\n', 'domname 0': 'Domain-0\n',
  'domname 99': "Can't get domain name of domain id '99', maybe this domain does not exist.\n",
  'domid nosuch': "Can't get domid of domain name 'nosuch', maybe this domain does not exist.\n",
  'create nosuch.cfg': 'Failed to read config file: nosuch.cfg: No such file or directory\n',
  create: 'Config file not specified and none in save file\n',
  'create bad5.cfg': 'Parsing config from bad5.cfg\nDomain name must be specified.\n', 'create bad6.cfg': 'Parsing config from bad6.cfg\nInvalid domain type pw.\n',
  'destroy 0': 'Not destroying domain 0; use -f to force.\nThis can only be done when using a disaggregated hardware domain and toolstack.\n\n',
  'mem-set fc4 lots': 'invalid memory size: lots\n', 'restore /nosuch': "Can't open restore file: No such file or directory\n", 'cpupool-destroy nosuch': "unknown cpupool 'nosuch'\n",
  ...Object.fromEntries(['destroy nosuch', 'shutdown nosuch', 'pause nosuch', 'list nosuch', 'console nosuch', 'vcpu-set nosuch 1', 'save nosuch f', 'migrate nosuch host']
    .map((line) => [line, 'nosuch is an invalid domain identifier (rc=-6)\n'])),
}

test.each(Object.keys(GOLDEN))('xl %s prints what real xl prints', async (line) => {
  writeFileSync(join(folder, 'bad5.cfg'), 'memory=32\ntype="pv"\n')
  writeFileSync(join(folder, 'bad6.cfg'), 'name="b"\nmemory=32\ntype="pw"\n')
  const hexes = GOLDEN[line]!.replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'UUID')
  const printed = (await xl(line)).replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'UUID')
  // States of vCPUs and numbers are of another moment; their places and widths are the same.
  const places = (text: string): string => text.replace(/ *\d[\d.:]*/g, (number) => '#'.repeat(number.length)).replace(/[-r][-b]----/g, 'STATE-')
  expect(places(printed)).toBe(places(hexes))
})

test('xl top -n -x -v -f and xl info -n have their lines', async () => {
  const top = await xl('top -b -i 1 -n -x -v -f')
  expect(top).toMatch(/^VCPUs\(sec\): {3}0: {9,10}\d+s$/m)
  expect(top).toMatch(/^Net0 RX: +\d+bytes +\d+pkts +\d+err +\d+drop {2}TX: +\d+bytes +\d+pkts +\d+err +\d+drop$/m)
  expect(top).toMatch(/^VBD BlkBack 51712 \[ca: 0\] {2}OO: {8}0 {3}RD: {8}0 {3}WR: {8}0 {3}RSECT: {10}0 {3}WSECT: {10}0$/m)
  expect(await xl('info -n')).toContain('free_cpus              : 0\ncpu_topology           :\ncpu:    core    socket     node\n  0:       0        0        0\n  1:       1        0        0\n')
})

/** Whether a test calls one of the calls that a row of the table names, or runs one of its commands. */
function holds(test: string, commands: readonly string[], call: string): boolean {
  const names = [...call.matchAll(/(?:host|domain|pool|cpupools)\.(\w+)/g)].map(([, name]) => name!)
  return names.some((name) => new RegExp(`\\.${name}\\b`).test(test)) || commands.some((command) => new RegExp(`['\`"]${command}['\`" ]`).test(test))
}

test('every command stands in docs/xl-commands.md with tests that call it or run it', () => {
  const document = readFileSync(join(import.meta.dirname, '../../docs/xl-commands.md'), 'utf8').split('\n## ')[0]!
  const rows = document.split('\n').filter((line) => line.startsWith('| `'))
  const named = rows.flatMap((row) => [...row.split('|')[1]!.matchAll(/`([a-z0-9-]+)`/g)].map(([, name]) => name!))
  expect(Object.keys(VERBS).filter((name) => name !== 'help' && name !== 'metrics' && !named.includes(name))).toEqual([])
  expect(named.filter((name) => !Object.hasOwn(VERBS, name))).toEqual([])
  for (const row of rows) {
    const [, command, call, tests] = row.split('|').map((cell) => cell.trim())
    const commands = [...command!.matchAll(/`([a-z0-9-]+)`/g)].map(([, name]) => name!)
    for (const test of tests!.split(', ')) expect(holds(readFileSync(join(import.meta.dirname, '../..', test), 'utf8'), commands, call!), row).toBe(true)
  }
})
