/** Crashes of Linux, explained by what they print. */
import { expect, test } from 'vitest'
import { explainCrash } from '../../../src/debug/index.ts'

/** As Debian's 6.1 prints it, with a module of one's own. */
const OOPS = `[    0.000000] Linux version 6.1.0-57-amd64
[   12.345678] BUG: kernel NULL pointer dereference, address: 0000000000000010
[   12.345680] #PF: supervisor read access in kernel mode
[   12.345681] #PF: error_code(0x0000) - not-present page
[   12.345683] Oops: 0000 [#1] PREEMPT SMP NOPTI
[   12.345690] CPU: 1 PID: 77 Comm: insmod Tainted: G           OE      6.1.0-57-amd64 #1  Debian 6.1.192-3
[   12.345700] RIP: e030:frob_request+0x1c/0x40 [planted]
[   12.345710] Code: 48 89 e5 53 48 89 fb <48> 8b 47 10 85 c0
[   12.345720] RSP: e02b:ffffc90000157d88 EFLAGS: 00010246
[   12.345721] RAX: 0000000000000000 RBX: ffff888004a1c000 RCX: 0000000000000000
[   12.345730] Call Trace:
[   12.345731]  <TASK>
[   12.345732]  ? __die_body.cold+0x1a/0x1f
[   12.345733]  planted_init+0x15/0x1000 [planted]
[   12.345734]  do_one_initcall+0x59/0x220
[   12.345735]  </TASK>
[   12.345736] Modules linked in: planted(OE+)
[   12.345740] CR2: 0000000000000010
[   12.400000] Kernel panic - not syncing: Fatal exception
`

test('an oops tells what happened, where, in which process, who had called', () => {
  const crash = explainCrash(OOPS)!
  expect(crash).toMatchObject({
    kind: 'oops', message: 'BUG: kernel NULL pointer dereference, address: 0000000000000010', time: 12.345678, cpu: 1, process: { pid: 77, name: 'insmod' }, address: 16n,
    release: '6.1.0-57-amd64', at: { symbol: 'frob_request', offset: 0x1c, size: 0x40, module: 'planted', isCertain: true },
    registers: { rsp: 0xffffc90000157d88n, rax: 0n, rbx: 0xffff888004a1c000n, cr2: 16n, eflags: 0x10246n },
    code: { bytes: [0x48, 0x89, 0xe5, 0x53, 0x48, 0x89, 0xfb, 0x48, 0x8b, 0x47, 0x10, 0x85, 0xc0], mark: 7 },
  })
  expect(crash.taint).toBe('G           OE')
  expect(crash.calls.map(({ symbol, module, isCertain }) => [symbol, module, isCertain])).toEqual([
    ['__die_body.cold', undefined, false], ['planted_init', 'planted', true], ['do_one_initcall', undefined, true],
  ])
  expect(explainCrash(OOPS, ({ symbol }) => (symbol === 'frob_request' ? 'planted.c:12' : undefined))!.text).toBe(`oops: BUG: kernel NULL pointer dereference, address: 0000000000000010
  that is: the kernel followed a pointer that is null, or nearly
  in frob_request+0x1c [planted]  planted.c:12
  process insmod (77) on CPU 1
  called from:
    ? __die_body.cold+0x1a
    planted_init+0x15 [planted]
    do_one_initcall+0x59
`)
})

test.each([
  ['kernel BUG at mm/slub.c:385!', 'bug'], ['[1.5] general protection fault, probably for non-canonical address 0xdead000000000110: 0000 [#1] SMP', 'oops'],
  ['Kernel panic - not syncing: VFS: Unable to mount root fs', 'panic'], ['WARNING: CPU: 0 PID: 1 at kernel/fork.c:7 copy_process+0x1/0x2', 'warning'],
  ['watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [sh:1]', 'hang'], ['INFO: task sh:1 blocked for more than 120 seconds.', 'hang'], ['invalid opcode: 0000 [#1] PREEMPT SMP', 'oops'],
  ['BUG: KASAN: slab-out-of-bounds in frob+0x1/0x2', 'bug'], ['BUG: unable to handle page fault for address: ffffc90000000000', 'oops'],
])('%s', (line, kind) => {
  expect(explainCrash(`hello\n${line}\n`)).toMatchObject({ kind, calls: [], registers: {} })
})

test('a text without a crash has none, and anything else is no text', () => {
  expect(explainCrash('all is well\n')).toBeUndefined()
  expect(explainCrash('')).toBeUndefined()
  for (const wrong of [undefined, 5, null]) expect(() => explainCrash(wrong as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})

test('whatever follows a headline is taken as far as it can be', () => {
  for (let cut = 0; cut < OOPS.length; cut += 7) {
    const crash = explainCrash(OOPS.slice(0, cut))
    if (cut > 120) expect(crash?.kind).toBe('oops')
  }
})
