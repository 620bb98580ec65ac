/** The mini kernel declares the part of Xen's interface that it uses by itself; here it is held against our tables, for each kind of guest. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import * as abi from '../../../src/abi/index.ts'
import type { Fields, Layout } from '../../../src/util/index.ts'
import { MINI_KINDS, type MiniKind } from '../../support/build-mini.ts'

const folder = fileURLToPath(new URL('../../../examples/guests/mini/', import.meta.url))

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
  ['CALLBACKTYPE_', abi.CALLBACKTYPE], ['HVMOP_', abi.HVMOP], ['HVM_PARAM_', abi.HVM_PARAM], ['XENMAPSPACE_', abi.XENMAPSPACE],
]

const SINGLE = {
  DOMID_SELF: abi.DOMID.SELF, SIF_INITDOMAIN: abi.SIF.INITDOMAIN,
  SIF_MOD_START_PFN: abi.SIF.MOD_START_PFN, CALLBACKF_MASK_EVENTS: abi.CALLBACKF.mask_events,
  VIRQ_TIMER: abi.VIRQ.TIMER, UVMF_INVLPG: abi.UVMF.INVLPG, GNTMAP_HOST_MAP: abi.GNTMAP.host_map,
  GTF_PERMIT_ACCESS: abi.GTF.permit_access,
  GTF_IN_USE: abi.GTF.reading | abi.GTF.writing, GNTTAB_RESERVED: abi.GNTTAB_NR_RESERVED_ENTRIES,
}

/** What is a kind's own. */
interface Own {
  readonly options: readonly string[]
  readonly structures: Readonly<Record<string, readonly [layout: object, members: string]>>
  readonly single: Readonly<Record<string, number>>
}

const OWN: Readonly<Record<MiniKind, Own>> = {
  pv64: { options: ['-m64', '-DKIND_PV64'], structures: {}, single: { KERNEL_CS: abi.FLAT.KERNEL_CS, '(long)MACHINE_TO_PHYSICAL': abi.MACH2PHYS_VIRT_START } },
  pv32: {
    options: ['-m32', '-DKIND_PV32'], structures: { callback_register: [abi.CompatCallbackRegister, 'type flags cs address=eip'] },
    single: { KERNEL_CS: abi.COMPAT_FLAT.KERNEL_CS, '(unsigned long)MACHINE_TO_PHYSICAL': abi.COMPAT_MACH2PHYS_VIRT_START },
  },
  pvh: {
    options: ['-m64', '-DKIND_PVH'],
    structures: {
      hvm_param: [abi.XenHvmParam, 'domid index value'],
      add_to_physmap: [abi.XenAddToPhysmap, 'domid size=count space index=idx frame=gpfn'],
      hvm_start_info: [abi.HvmStartInfo, 'magic version flags nr_modules modlist_paddr cmdline_paddr rsdp_paddr memmap_paddr memmap_entries'],
      hvm_module: [abi.HvmModlistEntry, 'paddr size=bytes cmdline_paddr'],
      hvm_memmap_entry: [abi.HvmMemmapTableEntry, 'addr size=bytes type'],
    },
    single: {
      HVM_START_MAGIC: abi.HVM_START_MAGIC_VALUE, HVM_MEMMAP_RAM: abi.HVM_MEMMAP_TYPE.RAM, 'CALLBACK_BY_VECTOR >> 56': abi.HVM_PARAM_CALLBACK_TYPE.VECTOR,
    },
  },
}

const camelCase = (name: string): string => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())

/** A layout as the kind's guests have it. */
const layoutOf = (layout: object, kind: MiniKind): Layout<Fields> => (kind === 'pv32' && 'compat' in layout ? layout.compat : layout) as Layout<Fields>

/** C expression -> the value it must have. */
function claims(kind: MiniKind): Map<string, number> {
  const own = OWN[kind]
  const expected = new Map<string, number>(Object.entries({ ...SINGLE, ...own.single }))
  for (const [name, [structure, members]] of Object.entries({ ...STRUCTURES, ...own.structures })) {
    const layout = layoutOf(structure, kind)
    expected.set(`sizeof(struct ${name})`, layout.size)
    for (const member of members.split(' ')) {
      const [theirs = '', ours = camelCase(theirs)] = member.split('=')
      // Which 32-bit guests have among the last.
      if (kind === 'pv32' && theirs === 'wc_sec_hi') continue
      expected.set(`__builtin_offsetof(struct ${name}, ${theirs})`, layout.fields[ours]?.offset ?? Number.NaN)
    }
  }
  for (const [prefix, values] of ENUMS) {
    const keys = Object.fromEntries(Object.entries(values).map(([key, value]) => [key.toUpperCase(), value]))
    for (const name of constantsOf(prefix, kind)) expected.set(name, keys[name.slice(prefix.length)] ?? Number.NaN)
  }
  return expected
}

/** Constants of the headers with such a name, those of other kinds left out. */
function constantsOf(prefix: string, kind: MiniKind): string[] {
  const [common, all] = ['xen.h', 'kind.h'].map((name) => readFileSync(`${folder}${name}`, 'utf8')) as [string, string]
  const text = kind === 'pvh' ? common + all.slice(all.indexOf('KIND_PVH')) : common
  return [...text.matchAll(new RegExp(`\\b${prefix}[A-Z_0-9]+(?= = )`, 'g'))].map(([name]) => name)
}

/** What the compiler makes of the expressions, read from its assembly: nothing is run. Undefined without a compiler. */
function compiled(expressions: readonly string[], options: readonly string[]): number[] | undefined {
  const lines = expressions.map((expression) => `asm volatile("ANSWER %0" :: "i"(${expression}));`)
  const program = `#include "${folder}xen.h"\nvoid answers(void) {\n${lines.join('\n')}\n}\n`
  try {
    const assembly = execFileSync('gcc', [...options, '-ffreestanding', '-fno-pic', '-w', '-S', '-o', '-', '-x', 'c', '-'], { input: program, encoding: 'utf8' })
    return [...assembly.matchAll(/ANSWER \$(-?\d+)$/gm)].map(([, value]) => Number(value))
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return undefined
    throw error
  }
}

describe('the mini kernel', () => {
  test.for(MINI_KINDS)("declares Xen's interface as the tables have it: %s", (kind, { skip }) => {
    const expected = claims(kind)
    const values = compiled([...expected.keys()], OWN[kind].options)
    if (values === undefined) skip('no gcc here')
    expect(expected.size).toBeGreaterThan(150)
    // An address of 32 bits comes as the signed number that it would be.
    const narrow = (value: number): number => (kind === 'pv32' && value < 0 ? value + 2 ** 32 : value)
    expect(Object.fromEntries([...expected.keys()].map((key, i) => [key, narrow(values?.[i] ?? Number.NaN)]))).toEqual(
      Object.fromEntries([...expected].map(([key, value]) => [key, narrow(value)])))
  })
})
