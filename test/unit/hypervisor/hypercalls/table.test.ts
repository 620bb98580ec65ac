/**
 * The table of hypercalls, held from outside: it names what Xen's headers name, refuses as it says, holds against hostile
 * arguments, and docs/hypercalls.md is what it says today.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import {
  CallbackRegister, DOMCTL_INTERFACE_VERSION, DOMID, Domctl, ERRNO, GNTST, HYPERVISOR, MmuUpdate, MmuextOp, SYSCTL_INTERFACE_VERSION, Sysctl,
  VMASST_CMD, XENPF_INTERFACE_VERSION, XEN_MCA_INTERFACE_VERSION, XenMc, XenPlatformOp,
} from '../../../../src/abi/index.ts'
import { CALL_SILENT, type HypercallName, type OperationRow } from '../../../../src/hypervisor/domains/hypercall.ts'
import { KINDS, hypercallTables } from '../../../support/hypercall-table.ts'
import { TestGuest, TestHost } from '../../../support/hypervisor-host.ts'
import { PvGuest } from '../../../support/pv-guest.ts'
import { HYPERCALL_PREFIX, PREFIXES, type OperationNumbers, askMacros, idleRules, operationsOf } from '../../abi/operations.ts'
import { whyNoCompiler } from '../../abi/c-program.ts'
import { HYPERCALLS_FILE, hypercallsDocument } from './hypercalls-document.ts'

const tables = hypercallTables()
/** Every hypercall that some kind of guest has. */
const rows = tables.pv
const expected = JSON.parse(readFileSync(new URL('../../abi/operations.json', import.meta.url), 'utf8')) as Record<string, OperationNumbers>

const numbersOf = (list: readonly OperationRow[]): OperationNumbers => Object.fromEntries(list.map(({ name, number }) => [name, number]))

describe('the hypercall table', () => {
  test('has a row for every hypercall of Xen\'s headers, and no other', () => {
    expect(Object.fromEntries(rows.map(({ name }) => [name, HYPERVISOR[name]]))).toEqual(expected[HYPERCALL_PREFIX])
    expect(rows.map(({ name }) => name).length).toBe(Object.keys(expected[HYPERCALL_PREFIX]!).length)
  })

  test.each(PREFIXES.filter((prefix) => prefix !== HYPERCALL_PREFIX))('has every %s of them, and no other', (prefix) => {
    const lists = rows.flatMap(({ operations = [] }) => operations).filter((list) => list.prefix === prefix)
    expect(lists.length).toBe(1)
    expect(numbersOf(lists[0]!.rows)).toEqual(expected[prefix])
    expect(lists[0]!.rows.length).toBe(Object.keys(expected[prefix]!).length)
  })

  test('has no list under a prefix that the headers are not asked for', () => {
    const prefixes = rows.flatMap(({ operations = [] }) => operations.map(({ prefix }) => prefix))
    expect(prefixes.filter((prefix) => !PREFIXES.includes(prefix))).toEqual([])
  })

  test('says of each hypercall how much of it there is, or of each of its operations', () => {
    for (const { name, support, operations } of rows) expect(support === undefined, name).toBe(operations !== undefined)
  })

  test('gives a guest in TypeScript no hypercall that a PV guest has not', () => {
    const names = new Set(rows.map(({ name }) => name))
    expect(tables.typescript.filter(({ name }) => !names.has(name))).toEqual([])
    expect(tables.typescript.length).toBeLessThan(rows.length)
  })

  const reason = whyNoCompiler()
  test.skipIf(reason !== undefined)(`the recorded names are what the headers say here${reason ? ` (SKIPPED: ${reason})` : ''}`, () => {
    const macros = askMacros()
    expect(operationsOf(macros)).toEqual(expected)
    expect(idleRules(macros)).toEqual([])
  })

  test('a new name in a header is an operation until a rule says otherwise', () => {
    const found = operationsOf('#define XENMEM_new_op 29\n#define XENMEM_FLAG 1\n#define XENMEM_access_op_new 5\n#define XENMEM_shift (1 << 3)\n')
    expect(found['XENMEM_']).toEqual({ new_op: 29 })
  })

  test('is what docs/hypercalls.md says', () => {
    expect(readFileSync(HYPERCALLS_FILE, 'utf8')).toBe(hypercallsDocument())
  })
})

/** A guest whose first page holds arguments, at `address` for it and at `place` for the host. */
interface Caller {
  readonly guest: TestGuest
  readonly address: number
  readonly place: number
}

const CALLERS: Record<(typeof KINDS)[number] | 'privileged', () => Caller> = {
  typescript: () => plain(false),
  privileged: () => plain(true),
  pv: () => {
    const guest = PvGuest.boot()
    return { guest, address: guest.at(1), place: guest.place(1) }
  },
  pv32: () => withoutProcessor('pv32'),
  pvh: () => withoutProcessor('pvh'),
}

/** Before it has a processor, a guest's pointers are host addresses within its own frames. */
function withoutProcessor(kind: 'pv32' | 'pvh'): Caller {
  const host = new TestHost()
  const domid = host.hypervisor.createDomain({ kind, maxPages: 64 })
  const guest = new TestGuest(host, domid, host.hypervisor.populatePhysmap(domid, 64, 0))
  return { guest, address: guest.scratch, place: guest.scratch }
}

function plain(privileged: boolean): Caller {
  const guest = new TestHost().guest({ privileged })
  return { guest, address: guest.scratch, place: guest.scratch }
}

/** What a list's operations are asked by, where it is not the hypercall's first argument and a pointer behind it. */
const BY_PREFIX: Readonly<Record<string, (caller: Caller, number: number) => number[]>> = {
  MMU_: ({ guest, address, place }, number) => {
    MmuUpdate.ptr.setNumber(guest.view, place, number)
    return [address, 1, 0, DOMID.SELF]
  },
  MMUEXT_: ({ guest, address, place }, number) => {
    MmuextOp.cmd.set(guest.view, place, number)
    return [address, 1, 0, DOMID.SELF]
  },
  CALLBACKTYPE_: ({ guest, address, place }, number) => {
    CallbackRegister.type.set(guest.view, place, number)
    return [0, address]
  },
  VMASST_TYPE_: (_caller, number) => [VMASST_CMD.enable, number],
  XENPF_: ({ guest, address, place }, number) => {
    XenPlatformOp.cmd.set(guest.view, place, number)
    XenPlatformOp.interfaceVersion.set(guest.view, place, XENPF_INTERFACE_VERSION)
    return [address]
  },
  XEN_MC_: ({ guest, address, place }, number) => {
    XenMc.cmd.set(guest.view, place, number)
    XenMc.interfaceVersion.set(guest.view, place, XEN_MCA_INTERFACE_VERSION)
    return [address]
  },
  XEN_DOMCTL_: ({ guest, address, place }, number) => {
    Domctl.encode(guest.view, place, { cmd: number, interfaceVersion: DOMCTL_INTERFACE_VERSION, domain: guest.domid })
    return [address]
  },
  XEN_SYSCTL_: ({ guest, address, place }, number) => {
    Sysctl.encode(guest.view, place, { cmd: number, interfaceVersion: SYSCTL_INTERFACE_VERSION })
    return [address]
  },
  GNTTABOP_: ({ address }, number) => [number, address, 1],
  VCPUOP_: ({ address }, number) => [number, 0, address],
}

function ask(caller: Caller, name: HypercallName, { prefix, number }: { readonly prefix: string; readonly number: number }): number {
  return caller.guest.call(name, ...(BY_PREFIX[prefix]?.(caller, number) ?? [number, caller.address]))
}

describe.each(['typescript', 'privileged', 'pv', 'pv32', 'pvh'] as const)('a guest (%s)', (kind) => {
  const own = tables[kind === 'privileged' ? 'typescript' : kind]
  const lists = own.flatMap(({ name, operations = [] }) => operations.map((list) => ({ name, ...list })))

  test('gets from what is refused the error that the table names', () => {
    const caller = CALLERS[kind]()
    for (const { name, prefix, rows } of lists) {
      for (const { name: operation, number, support } of rows) {
        if (support.level !== 'refused') continue
        const error = kind === 'privileged' ? support.privileged : support.error
        caller.guest.view.setBigUint64(caller.place, 0n, true)
        expect(ask(caller, name, { prefix, number }), `${prefix}${operation}`).toBe(-ERRNO[error])
      }
    }
  })

  test('gets an error of Xen\'s, or an answer, for hostile arguments, and the host stands', () => {
    const errors = new Set<number>([...Object.values(ERRNO), ...Object.values(GNTST).map((status) => -status)].map((error) => -error))
    const lawful = (result: number): boolean => Number.isInteger(result) && (result >= 0 || errors.has(result) || result === CALL_SILENT)
    let caller = CALLERS[kind]()
    for (const { name, operations = [] } of own) {
      const numbers = operations.length === 0 ? [{ prefix: '', number: 0 }]
        : operations.flatMap(({ prefix, rows }) => rows.map(({ number }) => ({ prefix, number })))
      for (const { prefix, number } of numbers) {
        const results = [0, -1].flatMap((fill) => {
          if (caller.guest.host.hypervisor.domainInfo(caller.guest.domid).shutdownReason !== undefined) caller = CALLERS[kind]()
          const { guest, place } = caller
          guest.host.memory.bytes.fill(fill, place, place + 256)
          return [
            guest.call(name, number, fill, fill, fill, fill, fill), guest.call(name, fill, fill, fill, fill, fill, fill),
            ask(caller, name, { prefix, number }),
          ]
        })
        // The debug registers are told as they are.
        if (name !== 'get_debugreg') expect(results.filter((result) => !lawful(result)), `${name} ${prefix}${number}`).toEqual([])
      }
    }
    expect(caller.guest.host.problems()).toEqual([])
  })
})
