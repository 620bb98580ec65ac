/**
 * The definitions that a PVH guest's ACPI interpreter loads: 128 processors, each of which finds its entry of the MADT by
 * the words at the start of the ACPI area, and what is done when a processor comes or goes. Xen's toolstack gives all PVH
 * guests these very bytes, whatever number of vCPUs they have.
 *
 *   \_SB   BIOS (words at fc000000), MSU (checksum of the MADT), PR00 ... PR7F, PRSC (looks which are online)
 *   \_GPE  _E02: general-purpose event 2 calls PRSC
 *
 * Reference: xen/tools/libacpi/dsdt_acpi_info.asl, mk_dsdt.c.
 */
import {
  ADDRESS_SPACE, ARGUMENT, LOCAL, type Aml, add, and, buffer, call, element, equal, fields, integer, less, method, name, named, not, notify,
  otherwise, processor, region, returns, scope, shiftRight, sleep, store, string, subtract, toBuffer, when,
} from './aml.ts'

/** Processors that the definitions know: HVM_MAX_VCPUS. */
export const DSDT_PROCESSORS = 128
/** Where the words stand that the definitions read (tables.ts writes them), and their bytes. */
export const ACPI_INFO_ADDRESS = 0xfc00_0000
/** Bytes of those words. */
export const ACPI_INFO_SIZE = 40

/** Bytes of a processor's entry in the MADT. */
const LAPIC_ENTRY = 8
/** Ports of the bitmap of processors that are online. */
const ONLINE_PORT = 0xaf00
const ONLINE_BYTES = 32
/** Address and length of a processor's register block. */
const BLOCK = { block: 0xb010, length: 6 }
/** What the operating system is told of a processor. */
const DEVICE_CHECK = 1
const EJECT_REQUEST = 3
/** Milliseconds that a processor's end takes. */
const EJECT_TIME = 0xc8
/** _STA: present, enabled, shown, working. */
const PRESENT = 0xf
/** An entry of the MADT for a processor that the domain does not have. */
const NO_ENTRY = [0, LAPIC_ENTRY, 0xff, 0xff, 0, 0, 0, 0]

const processorName = (cpu: number): string => `PR${cpu.toString(16).toUpperCase().padStart(2, '0')}`

/** The words of the ACPI area, as the MADT's author left them. */
const info = (): Aml => scope(
  '_SB',
  region('BIOS', ADDRESS_SPACE.memory, integer(ACPI_INFO_ADDRESS), ACPI_INFO_SIZE),
  fields('BIOS', [
    ['UAR1', 1], ['UAR2', 1], ['LTP1', 1], ['HPET', 1], ['', 12], ['NCPU', 16], ['PMIN', 32], ['PLEN', 32], ['MSUA', 32], ['MAPA', 32],
    ['VGIA', 32], ['LMIN', 32], ['HMIN', 32], ['LLEN', 32], ['HLEN', 32],
  ]),
)

/** A processor's object: its entry of the MADT, whether it is there, how it goes. */
function processorObject(cpu: number): Aml {
  // The first one is always there.
  const isThere = when(name('FLG'), returns(integer(PRESENT)))
  return processor(
    processorName(cpu), { id: cpu, ...BLOCK },
    named('_HID', string('ACPI0007')),
    named('_UID', integer(cpu)),
    region('MATR', ADDRESS_SPACE.memory, add(name('MAPA'), integer(cpu * LAPIC_ENTRY)), LAPIC_ENTRY),
    fields('MATR', [['MAT', LAPIC_ENTRY * 8]]),
    fields('MATR', [['', 32], ['FLG', 1]]),
    method('_MAT', 0, returns(cpu === 0 ? toBuffer(name('MAT')) : call('PMAT', integer(cpu), name('MAT')))),
    method('_STA', 0, cpu === 0 ? isThere : when(less(integer(cpu), name('NCPU')), isThere), returns(integer(0))),
    method('_EJ0', 1, sleep(integer(EJECT_TIME))),
  )
}

/** Compares one processor's bit with its entry of the MADT; where they differ the entry follows, and its checksum. */
function lookAtProcessor(cpu: number): Aml {
  const [object, flag, checksum] = [name(processorName(cpu)), name(`^${processorName(cpu)}.FLG`), name('MSU')]
  return [
    ...(cpu % 8 === 0 ? store(element(LOCAL[0], integer(cpu / 8)), LOCAL[1]) : shiftRight(LOCAL[1], integer(1), LOCAL[1])),
    ...and(LOCAL[1], integer(1), LOCAL[2]),
    ...when(
      not(equal(LOCAL[2], flag)),
      store(LOCAL[2], flag),
      when(equal(LOCAL[2], integer(1)), notify(object, integer(DEVICE_CHECK)), subtract(checksum, integer(1), checksum)),
      otherwise(notify(object, integer(EJECT_REQUEST)), add(checksum, integer(1), checksum)),
    ),
  ]
}

const eachProcessor = (term: (cpu: number) => Aml): Aml => Array.from({ length: DSDT_PROCESSORS }, (_, cpu) => term(cpu)).flat()

/** The processors and what watches them. */
const processors = (): Aml => scope(
  '_SB',
  region('MSUM', ADDRESS_SPACE.memory, name('MSUA'), 1),
  fields('MSUM', [['MSU', 8]]),
  method('PMAT', 2, when(less(ARGUMENT[0], name('NCPU')), returns(toBuffer(ARGUMENT[1]))), returns(buffer(NO_ENTRY))),
  eachProcessor(processorObject),
  region('PRST', ADDRESS_SPACE.io, integer(ONLINE_PORT), ONLINE_BYTES),
  fields('PRST', [['PRS', DSDT_PROCESSORS]]),
  method('PRSC', 0, store(toBuffer(name('PRS')), LOCAL[0]), eachProcessor(lookAtProcessor), returns(integer(1))),
)

/** The definitions, without the table's header. */
export const processorDefinitions = (): Aml => [
  ...info(), ...processors(), ...scope('_GPE', method('_E02', 0, call('\\_SB.PRSC'))),
]
