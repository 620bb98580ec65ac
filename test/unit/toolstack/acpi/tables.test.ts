/** ACPI tables of PVH guests: where real Xen's lie, what they say, and what Intel's compiler makes of the same definitions. */
import { createHash } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { makeAcpiTables, type AcpiAreas } from '../../../../src/toolstack/acpi/tables.ts'
import { guestFile, whyMissing } from '../../../support/guests.ts'

/** Bytes of a guest-physical address. */
function at({ info, tables, rsdp }: AcpiAreas, address: number): Uint8Array {
  const area = [info, tables, rsdp].find((one) => address >= one.address && address < one.address + one.bytes.length)!
  return area.bytes.subarray(address - area.address)
}

const word = (bytes: Uint8Array, offset: number): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(offset, true)
const textOf = (bytes: Uint8Array, from: number, to: number): string => String.fromCharCode(...bytes.subarray(from, to))
const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => total + byte, 0) & 0xff
const tableAt = (areas: AcpiAreas, address: number): Uint8Array => at(areas, address).subarray(0, word(at(areas, address), 4))

/** One line for each table that the RSDP leads to, as Linux prints them. */
function listed(areas: AcpiAreas): string[] {
  const rsdp = at(areas, areas.rsdp.address)
  const line = (address: number): string => {
    const table = tableAt(areas, address)
    const id = `${textOf(table, 0, 4)} ${address.toString(16)} ${table.length.toString(16)}`
    return textOf(table, 0, 4) === 'FACS' ? id : `${id} v${table[8]} ${textOf(table, 10, 13)} ${textOf(table, 16, 19)} ${textOf(table, 28, 32)} ${word(table, 32).toString(16)}`
  }
  const xsdt = word(rsdp, 24)
  const [fadt, madt] = [word(at(areas, xsdt), 36), word(at(areas, xsdt), 44)]
  return [xsdt, fadt, word(at(areas, fadt), 140), word(at(areas, fadt), 132), madt].map(line)
}

describe('the ACPI tables of a PVH guest', () => {
  test('lie where Linux finds them on real Xen', () => {
    const areas = makeAcpiTables({ maxVcpus: 2, vcpus: 2 })
    expect(areas.rsdp.address).toBe(0xfc008000)
    expect(listed(areas)).toEqual([
      'XSDT fc007f60 34 v1 Xen HVM HVML 0',
      'FACP fc007d60 10c v5 Xen HVM HVML 0',
      'DSDT fc001040 6c9b v5 Xen HVM INTL 20200925',
      'FACS fc001000 40',
      'APIC fc007e70 3c v2 Xen HVM HVML 0',
    ])
  })

  test.each([1, 2, 15, 128])('add up, for %i vCPUs', (maxVcpus) => {
    const areas = makeAcpiTables({ maxVcpus, vcpus: 1 })
    const rsdp = at(areas, areas.rsdp.address)
    expect([sum(rsdp.subarray(0, 20)), sum(rsdp.subarray(0, 36))]).toEqual([0, 0])
    const [xsdt, rsdt] = [word(rsdp, 24), word(rsdp, 16)]
    const tables = [xsdt, rsdt, word(at(areas, xsdt), 36), word(at(areas, rsdt), 36), word(at(areas, xsdt), 44), 0xfc001040]
    for (const address of tables) expect([address, sum(tableAt(areas, address))]).toEqual([address, 0])
  })

  test('have a local APIC for every vCPU, with twice its number, enabled where it is online', () => {
    const areas = makeAcpiTables({ maxVcpus: 3, vcpus: 2 })
    const { bytes } = areas.info
    const madt = word(bytes, 12) - 9
    expect([bytes[2], word(at(areas, madt), 36).toString(16), word(at(areas, madt), 40)]).toEqual([3, 'fee00000', 1])
    expect([...at(areas, word(bytes, 16)).subarray(0, 24)]).toEqual([
      0, 8, 0, 0, 1, 0, 0, 0,
      0, 8, 1, 2, 1, 0, 0, 0,
      0, 8, 2, 4, 0, 0, 0, 0,
    ])
  })

  test('say where events are told, and that there is no timer', () => {
    const areas = makeAcpiTables({ maxVcpus: 1, vcpus: 1 })
    const fadt = at(areas, 0xfc007d60)
    const [event, control, timer, gpe] = [56, 64, 76, 80].map((offset) => word(fadt, offset).toString(16))
    expect({ event, control, timer, gpe, flags: word(fadt, 112).toString(16) }).toEqual({ event: 'b000', control: 'b004', timer: '0', gpe: 'afe0', flags: '8175' })
  })
})

describe('the definitions of processors', () => {
  const dsdt = (): Uint8Array => tableAt(makeAcpiTables({ maxVcpus: 1, vcpus: 1 }), 0xfc001040)

  test('are the bytes that Intel\'s compiler makes of Xen\'s definitions', () => {
    expect(createHash('sha256').update(dsdt()).digest('hex')).toBe('588c5677418160ddc9c082339e7ddb2dd1a479e6265556394653f8d898c53e82')
  })

  const reason = whyMissing('iasl')
  test.skipIf(reason !== undefined)(`are taken apart and put together again by Intel's compiler${reason ?? ''}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'paravirt-acpi-'))
    try {
      writeFileSync(join(folder, 'ours.aml'), dsdt())
      const iasl = (...words: string[]): string => execFileSync(guestFile('iasl')!, words, { cwd: folder, encoding: 'utf8', stdio: 'pipe' })
      iasl('-d', 'ours.aml')
      const said = iasl('-p', 'again', 'ours.dsl')
      expect(said).toMatch(/Compilation successful\. 0 Errors/)
      const source = readFileSync(join(folder, 'ours.dsl'), 'utf8')
      expect(source.match(/Processor \(PR[0-9A-F]{2}, 0x[0-9A-F]{2}, 0x0000B010, 0x06\)/g)).toHaveLength(128)
      // The header's compiler is its own; all else is what was taken apart.
      expect(Buffer.compare(readFileSync(join(folder, 'again.aml')).subarray(36), dsdt().subarray(36))).toBe(0)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})
