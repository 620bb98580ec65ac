/** The mini kernel declares the part of Xen's interface that it uses by itself; here it is held against our tables. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import * as abi from '../../../src/abi/index.ts'

const header = fileURLToPath(new URL('../../../examples/guests/mini/xen.h', import.meta.url))

/** C structure of the kernel, our layout, and C member = our field where they differ in more than spelling. */
const STRUCTURES = {
  start_info: [abi.StartInfo, 'magic nr_pages shared_info flags store_mfn store_evtchn console_mfn console_evtchn '
    + 'pt_base nr_pt_frames mfn_list mod_start mod_len cmd_line first_p2m_pfn nr_p2m_frames'],
  vcpu_time_info: [abi.VcpuTimeInfo, 'version tsc_timestamp system_time tsc_to_system_mul tsc_shift flags'],
  vcpu_info: [abi.VcpuInfo, 'upcall_pending=evtchnUpcallPending upcall_mask=evtchnUpcallMask cr2=arch time '
    + 'pending_sel=evtchnPendingSel'],
  shared_info: [abi.SharedInfo, 'vcpu=vcpuInfo pending=evtchnPending mask=evtchnMask wc_version wc_sec_hi '
    + 'max_pfn=arch'],
  trap_info: [abi.TrapInfo, 'vector flags cs address'],
  callback_register: [abi.CallbackRegister, 'type flags address'],
  evtchn_alloc_unbound: [abi.EvtchnAllocUnbound, 'dom remote_dom port'],
  evtchn_bind_interdomain: [abi.EvtchnBindInterdomain, 'remote_dom remote_port local_port'],
  evtchn_bind_virq: [abi.EvtchnBindVirq, 'virq vcpu port'],
  evtchn_port: [abi.EvtchnSend, 'port'],
  memory_reservation: [abi.XenMemoryReservation, 'extents=extentStart nr_extents order=extentOrder flags=memFlags '
    + 'domid'],
  mmu_update: [abi.MmuUpdate, 'pointer=ptr value=val'],
  multicall_entry: [abi.MulticallEntry, 'op result args'],
  grant_entry: [abi.GrantEntryV1, 'flags domid frame'],
  gnttab_setup_table: [abi.GnttabSetupTable, 'dom nr_frames status frame_list'],
  gnttab_map_grant_ref: [abi.GnttabMapGrantRef, 'host_addr flags ref dom status handle dev_bus_addr'],
  gnttab_unmap_grant_ref: [abi.GnttabUnmapGrantRef, 'host_addr dev_bus_addr handle status'],
  console_page: [abi.XenconsInterface, 'in out in_cons in_prod out_cons out_prod'],
  store_page: [abi.XenstoreDomainInterface, 'req rsp req_cons req_prod rsp_cons rsp_prod features=serverFeatures '
    + 'connection error'],
  store_header: [abi.XsdSockmsg, 'type request=reqId transaction=txId length=len'],
} as const

const { HYPERVISOR, EVTCHNOP, GNTTABOP, SCHEDOP, SHUTDOWN, XENMEM, XS } = abi

/** Prefix of the kernel's constants, and where their values are in our tables. */
const ENUMS: readonly (readonly [prefix: string, values: Readonly<Record<string, number>>])[] = [
  ['CALL_', HYPERVISOR], ['EVTCHNOP_', EVTCHNOP], ['GNTTABOP_', GNTTABOP], ['SCHEDOP_', SCHEDOP],
  ['SHUTDOWN_', SHUTDOWN], ['XENMEM_', XENMEM], ['XS_', XS], ['CALLBACKOP_', abi.CALLBACKOP],
  ['CALLBACKTYPE_', abi.CALLBACKTYPE],
]

const SINGLE = {
  DOMID_SELF: abi.DOMID.SELF, KERNEL_CS: abi.FLAT.KERNEL_CS, SIF_INITDOMAIN: abi.SIF.INITDOMAIN,
  SIF_MOD_START_PFN: abi.SIF.MOD_START_PFN, CALLBACKF_MASK_EVENTS: abi.CALLBACKF.mask_events,
  VIRQ_TIMER: abi.VIRQ.TIMER, UVMF_INVLPG: abi.UVMF.INVLPG, GNTMAP_HOST_MAP: abi.GNTMAP.host_map,
  GTF_PERMIT_ACCESS: abi.GTF.permit_access,
  GTF_IN_USE: abi.GTF.reading | abi.GTF.writing, GNTTAB_RESERVED: abi.GNTTAB_NR_RESERVED_ENTRIES,
  '(long)MACHINE_TO_PHYSICAL': abi.MACH2PHYS_VIRT_START,
}

const camelCase = (name: string): string => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())

/** C expression -> the value it must have. */
function claims(): Map<string, number> {
  const expected = new Map<string, number>(Object.entries(SINGLE))
  for (const [name, [layout, members]] of Object.entries(STRUCTURES)) {
    expected.set(`sizeof(struct ${name})`, layout.size)
    for (const member of members.split(' ')) {
      const [theirs = '', ours = camelCase(theirs)] = member.split('=')
      const field = (layout.fields as Readonly<Record<string, { readonly offset: number }>>)[ours]
      expected.set(`__builtin_offsetof(struct ${name}, ${theirs})`, field?.offset ?? Number.NaN)
    }
  }
  const text = readFileSync(header, 'utf8')
  for (const [prefix, values] of ENUMS) {
    const keys = Object.fromEntries(Object.entries(values).map(([key, value]) => [key.toUpperCase(), value]))
    for (const [name] of text.matchAll(new RegExp(`\\b${prefix}[A-Z_0-9]+(?= = )`, 'g'))) {
      expected.set(name, keys[name.slice(prefix.length)] ?? Number.NaN)
    }
  }
  return expected
}

/** What the compiler makes of the expressions; undefined without a compiler. */
function compiled(expressions: readonly string[]): number[] | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'mini-abi-'))
  try {
    const lines = expressions.map((expression) => `printf("%ld\\n", (long)(${expression}));`)
    const program = `#include <stdio.h>\n#include "${header}"\nint main(void) {\n${lines.join('\n')}\nreturn 0;\n}\n`
    writeFileSync(join(folder, 'ask.c'), program)
    execFileSync('gcc', ['-w', '-o', join(folder, 'ask'), join(folder, 'ask.c')])
    return execFileSync(join(folder, 'ask'), { encoding: 'utf8' }).trim().split('\n').map(Number)
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return undefined
    throw error
  } finally {
    rmSync(folder, { recursive: true })
  }
}

describe('the mini kernel', () => {
  test("declares Xen's interface as the tables have it", ({ skip }) => {
    const expected = claims()
    const values = compiled([...expected.keys()])
    if (values === undefined) skip('no gcc here')
    expect(expected.size).toBeGreaterThan(150)
    expect(Object.fromEntries([...expected.keys()].map((key, i) => [key, values?.[i]]))).toEqual(
      Object.fromEntries(expected))
  })
})
