/**
 * The ACPI tables of a PVH guest as libxl lays them out, byte for byte:
 *
 *   fc000000  words that the DSDT reads   fc001000  FACS | DSDT | FADT of ACPI 1.0 | FADT | MADT | XSDT | RSDT
 *   behind the last page of tables the RSDP, where the guest's start info points
 *
 * There is no device to speak of: a local APIC for each vCPU, a general-purpose event for processors that come and go.
 * Reference: ACPI Specification 6.3, section 5.2; xen/tools/libacpi/build.c, static_tables.c; libxl_x86_acpi.c.
 */
import { bytes, overlay, u16, u32, u64, u8 } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { ACPI_INFO_ADDRESS, ACPI_INFO_SIZE, processorDefinitions } from './dsdt.ts'

/** What the tables depend on. */
export interface AcpiFacts {
  /** vCPUs that the domain can have. */
  readonly maxVcpus: number
  /** How many of them, from the first on, are online at start. */
  readonly vcpus: number
}

/** Bytes, and the guest-physical address where they belong. */
export interface AcpiArea {
  readonly address: number
  readonly bytes: Uint8Array
}

/** What a PVH guest has of ACPI. */
export interface AcpiAreas {
  /** Words for the DSDT, a page. */
  readonly info: AcpiArea
  /** All tables, whole pages. */
  readonly tables: AcpiArea
  readonly rsdp: AcpiArea
}

const TABLES_ADDRESS = ACPI_INFO_ADDRESS + PAGE_SIZE
/** Bytes of the RSDP's area: the structure, filled up to what older kernels search by. */
export const RSDP_AREA = 64

const Header = /* @__PURE__ */ overlay(36, {
  signature: bytes(0, 4), length: u32(4), revision: u8(8), checksum: u8(9), oemId: bytes(10, 6), oemTableId: bytes(16, 8),
  oemRevision: u32(24), creatorId: bytes(28, 4), creatorRevision: u32(32),
})

const Rsdp = /* @__PURE__ */ overlay(36, {
  signature: bytes(0, 8), checksum: u8(8), oemId: bytes(9, 6), revision: u8(15), rsdt: u32(16), length: u32(20), xsdt: u64(24),
  extendedChecksum: u8(32),
})

/** Words for the DSDT: struct acpi_info. */
const Info = /* @__PURE__ */ overlay(ACPI_INFO_SIZE, { processors: u16(2), checksumAddress: u32(12), firstLapicAddress: u32(16) })

const Facs = /* @__PURE__ */ overlay(64, { signature: bytes(0, 4), length: u32(4), version: u8(32) })

/** An address as newer tables have it. */
const genericAddress = (offset: number) => bytes(offset, 12)

const Fadt = /* @__PURE__ */ (() => overlay(268, {
  facs: u32(36), dsdt: u32(40), sciInterrupt: u16(46), pm1aEvent: u32(56), pm1aControl: u32(64), pmTimer: u32(76), gpe0: u32(80),
  pm1EventLength: u8(88), pm1ControlLength: u8(89), pmTimerLength: u8(91), gpe0Length: u8(92), level2Latency: u16(96),
  level3Latency: u16(98), bootFlags: u16(109), flags: u32(112), resetRegister: genericAddress(116), resetValue: u8(128),
  wideFacs: u64(132), wideDsdt: u64(140), widePm1aEvent: genericAddress(148), widePm1aControl: genericAddress(172),
}))()
/** The part of the FADT that ACPI 1.0 knows. */
const FADT_1_0_SIZE = 116

const Madt = /* @__PURE__ */ overlay(44, { lapicAddress: u32(36), flags: u32(40) })
const MadtLapic = /* @__PURE__ */ overlay(8, { type: u8(0), length: u8(1), processorId: u8(2), apicId: u8(3), flags: u32(4) })
/** libxl makes room for an I/O APIC and 16 overrides, whether or not there are any. */
const MADT_ROOM = 44 + 16 * 10 + 12

const PORT = { pm1aEvent: 0xb000, pm1aControl: 0xb004, pmTimer: 0xb008, gpe0: 0xafe0, reset: 0xcf9 } as const
/** WBINVD works; C1 on all processors; no power button, no sleep button; the clock's alarm; a timer of 32 bits; platform clock. */
const FADT_FLAGS = 1 << 0 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 15
/** There is neither a VGA adapter nor a CMOS clock. */
const BOOT_FLAGS = 1 << 2 | 1 << 5
/** Latencies that say that there is neither C2 nor C3. */
const NO_STATE = 0x0fff
const SCI = 9
const RESET_VALUE = 6

const LAPIC_ADDRESS = 0xfee0_0000
const LEGACY_PICS = 1
/** Revisions of the tables. */
const REVISION = { rsdp: 2, rsdt: 1, fadt: 5, fadt10: 1, madt: 2, dsdt: 5, facs: 1 } as const
/** Version of the compiler that libxl's DSDT comes from. */
const COMPILER = { id: 'INTL', revision: 0x2020_0925 } as const
const AUTHOR = { id: 'HVML', revision: 0 } as const

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const viewOf = (data: Uint8Array): DataView => new DataView(data.buffer, data.byteOffset, data.byteLength)

/** A register at a port. */
function atPort(port: number, bits: number): Uint8Array {
  const address = new Uint8Array(12)
  const view = viewOf(address)
  view.setUint8(0, 1)
  view.setUint8(1, bits)
  view.setBigUint64(4, BigInt(port), true)
  return address
}

/** Makes the bytes of a structure add up to 0. */
function setChecksum(table: Uint8Array, at: number, length = table.length): void {
  table[at] = 0
  table[at] = -table.subarray(0, length).reduce((sum, byte) => sum + byte, 0) & 0xff
}

interface TableFacts {
  readonly signature: string
  readonly revision: number
  readonly by?: typeof COMPILER | typeof AUTHOR
}

/** A table whose contents behind the header are given by `fill`. */
function makeTable(size: number, { signature, revision, by = AUTHOR }: TableFacts, fill: (view: DataView) => void): Uint8Array {
  const table = new Uint8Array(size)
  const view = viewOf(table)
  Header.encode(view, 0, {
    signature: text(signature), length: size, revision, oemId: text('Xen'), oemTableId: text('HVM'), creatorId: text(by.id),
    creatorRevision: by.revision,
  })
  fill(view)
  setChecksum(table, Header.checksum.offset)
  return table
}

/** Puts tables one behind the other, 16-byte aligned, and grows by whole pages. */
class TablePages {
  private pages = new Uint8Array(PAGE_SIZE)
  private end = 0

  /** Where a table of so many bytes would lie. */
  place(table: Uint8Array, room = table.length): number {
    const at = (this.end + 15) & ~15
    // libxl's allocator goes on from the last byte that it gave, not from the one behind it.
    this.end = at + room - 1
    const pages = Math.ceil(this.end / PAGE_SIZE) * PAGE_SIZE
    if (pages > this.pages.length) {
      const grown = new Uint8Array(pages)
      grown.set(this.pages)
      this.pages = grown
    }
    this.pages.set(table, at)
    return TABLES_ADDRESS + at
  }

  get bytes(): Uint8Array {
    return this.pages
  }
}

function makeFacs(): Uint8Array {
  const facs = new Uint8Array(Facs.size)
  Facs.encode(viewOf(facs), 0, { signature: text('FACS'), length: Facs.size, version: REVISION.facs })
  return facs
}

function makeDsdt(): Uint8Array {
  const definitions = processorDefinitions()
  const facts = { signature: 'DSDT', revision: REVISION.dsdt, by: COMPILER }
  return makeTable(Header.size + definitions.length, facts, (view) => {
    new Uint8Array(view.buffer).set(definitions, Header.size)
  })
}

interface FadtLinks {
  readonly facs: number
  readonly dsdt: number
}

/** What both forms of the FADT say. Only the older one names a timer, which the guest does not have, as libxl has it. */
function fillFadt(view: DataView, { facs, dsdt }: FadtLinks): void {
  Fadt.encode(view, 0, {
    facs, dsdt, sciInterrupt: SCI, pm1aEvent: PORT.pm1aEvent, pm1aControl: PORT.pm1aControl, gpe0: PORT.gpe0, pm1EventLength: 4,
    pm1ControlLength: 2, gpe0Length: 4, level2Latency: NO_STATE, level3Latency: NO_STATE, flags: FADT_FLAGS,
  })
}

function makeOldFadt(links: FadtLinks): Uint8Array {
  return makeTable(FADT_1_0_SIZE, { signature: 'FACP', revision: REVISION.fadt10 }, (view) => {
    const whole = new DataView(new ArrayBuffer(Fadt.size))
    fillFadt(whole, links)
    Fadt.encode(whole, 0, { pmTimer: PORT.pmTimer, pmTimerLength: 4, flags: FADT_FLAGS & ~(1 << 4 | 1 << 5) })
    new Uint8Array(view.buffer).set(new Uint8Array(whole.buffer, Header.size, FADT_1_0_SIZE - Header.size), Header.size)
  })
}

const makeFadt = (links: FadtLinks): Uint8Array => makeTable(Fadt.size, { signature: 'FACP', revision: REVISION.fadt }, (view) => {
  fillFadt(view, links)
  Fadt.encode(view, 0, {
    bootFlags: BOOT_FLAGS, resetRegister: atPort(PORT.reset, 8), resetValue: RESET_VALUE, wideFacs: BigInt(links.facs),
    wideDsdt: BigInt(links.dsdt), widePm1aEvent: atPort(PORT.pm1aEvent, 32), widePm1aControl: atPort(PORT.pm1aControl, 16),
  })
})

function makeMadt({ maxVcpus, vcpus }: AcpiFacts): Uint8Array {
  return makeTable(Madt.size + maxVcpus * MadtLapic.size, { signature: 'APIC', revision: REVISION.madt }, (view) => {
    Madt.encode(view, 0, { lapicAddress: LAPIC_ADDRESS, flags: LEGACY_PICS })
    for (let vcpu = 0; vcpu < maxVcpus; vcpu += 1) {
      MadtLapic.encode(view, Madt.size + vcpu * MadtLapic.size, {
        type: 0, length: MadtLapic.size, processorId: vcpu, apicId: vcpu * 2, flags: vcpu < vcpus ? 1 : 0,
      })
    }
  })
}

/** RSDT or XSDT: where other tables lie, in words of 4 or 8 bytes. */
function makeRootTable(signature: 'RSDT' | 'XSDT', addresses: readonly number[]): Uint8Array {
  const word = signature === 'XSDT' ? 8 : 4
  return makeTable(Header.size + addresses.length * word, { signature, revision: REVISION.rsdt }, (view) => {
    addresses.forEach((address, i) => view.setUint32(Header.size + i * word, address, true))
  })
}

function makeRsdp(rsdt: number, xsdt: number): Uint8Array {
  const area = new Uint8Array(RSDP_AREA)
  Rsdp.encode(viewOf(area), 0, {
    signature: text('RSD PTR '), oemId: text('Xen'), revision: REVISION.rsdp, rsdt, length: Rsdp.size, xsdt: BigInt(xsdt),
  })
  // ACPI 1.0 knew the first 20 bytes.
  setChecksum(area, Rsdp.checksum.offset, 20)
  setChecksum(area, Rsdp.extendedChecksum.offset, Rsdp.size)
  return area
}

/** Makes the tables of a domain. */
export function makeAcpiTables(facts: AcpiFacts): AcpiAreas {
  const pages = new TablePages()
  const facs = pages.place(makeFacs())
  const dsdt = pages.place(makeDsdt())
  const oldFadt = pages.place(makeOldFadt({ facs, dsdt }))
  const fadt = pages.place(makeFadt({ facs, dsdt }))
  const madt = pages.place(makeMadt(facts), MADT_ROOM + facts.maxVcpus * MadtLapic.size)
  const xsdt = pages.place(makeRootTable('XSDT', [fadt, madt]))
  const rsdt = pages.place(makeRootTable('RSDT', [oldFadt, madt]))
  const info = new Uint8Array(PAGE_SIZE)
  Info.encode(viewOf(info), 0, {
    processors: facts.maxVcpus, checksumAddress: madt + Header.checksum.offset, firstLapicAddress: madt + Madt.size,
  })
  return {
    info: { address: ACPI_INFO_ADDRESS, bytes: info },
    tables: { address: TABLES_ADDRESS, bytes: pages.bytes },
    rsdp: { address: TABLES_ADDRESS + pages.bytes.length, bytes: makeRsdp(rsdt, xsdt) },
  }
}
