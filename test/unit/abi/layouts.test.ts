/** Our tables against the C compiler's reading of Xen's headers. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import * as abi from '../../../src/abi/index.ts'
import type { Field, Fields, Layout } from '../../../src/util/index.ts'
import * as x86 from '../../../src/x86/index.ts'
import { askCompatCompiler, compatLayouts } from './c-compat.ts'
import { COMPAT_CONSTANTS, COMPAT_GROUPS, COMPAT_STRUCTURES, CONSTANTS, GROUPS, NATIVE_STRUCTURES, STRUCTURES } from './c-names.ts'
import { askCompiler, isLayout, whyNoCompiler, type Answers } from './c-program.ts'

const recorded = (file: string): Answers => JSON.parse(readFileSync(new URL(file, import.meta.url), 'utf8')) as Answers
const expected = recorded('./expected.json')
const expectedCompat = recorded('./expected-compat.json')
/** What stands in Xen's headers: the size of a page is the processor's, the two ABIs choose among layouts. */
const exported = (Object.entries(abi) as [string, unknown][]).filter(([name, value]) => !(name in x86) && typeof value !== 'function' && value !== abi.NATIVE && value !== abi.COMPAT)
const reason = whyNoCompiler()

/** Whether a field reads all-ones as a negative number. */
function isSigned(field: Field): boolean {
  const view = new DataView(new Uint8Array(field.offset + 8).fill(0xff).buffer)
  return field.kind === 'number' && field.get(view, 0) < 0
}

/** What a layout says, in the form of the compiler's answers. */
function answersOf(name: string, { size, fields }: Layout<Fields>): Answers {
  const answers: Answers = { [name]: size }
  for (const [key, field] of Object.entries(fields)) answers[`${name}.${key}`] = [field.offset, field.size, isSigned(field)]
  return answers
}

/** What constants say. */
const valuesOf = (name: string, value: unknown): Answers => (typeof value === 'object' && value !== null
  ? Object.fromEntries(Object.entries(value).map(([key, constant]) => [`${name}.${key}`, constant as number | string]))
  : { [name]: value as number })

const isCompatOnly = (name: string): boolean =>
  (name in COMPAT_STRUCTURES && !(name in STRUCTURES)) || name in COMPAT_GROUPS || name in COMPAT_CONSTANTS

/** What the tables say of 64-bit guests. */
const ourAnswers = (): Answers => Object.assign({}, ...exported.filter(([name]) => !isCompatOnly(name))
  .map(([name, value]) => (isLayout(value) ? answersOf(name, value) : valuesOf(name, value)))) as Answers

/** What they say of 32-bit ones, constants that are the same left out. */
const ourCompatAnswers = (): Answers => Object.assign({}, ...compatLayouts().map(([name, layout]) => answersOf(name, layout)),
  ...exported.filter(([name, value]) => isCompatOnly(name) && !isLayout(value)).map(([name, value]) => valuesOf(name, value))) as Answers

describe('the ABI tables', () => {
  test('have a C name for everything they export, and name nothing that is not exported', () => {
    const structures = { ...STRUCTURES, ...COMPAT_STRUCTURES }
    const groups = { ...GROUPS, ...COMPAT_GROUPS }
    const named = Object.keys({ ...structures, ...groups, ...CONSTANTS, ...COMPAT_CONSTANTS })
    expect(named.sort()).toEqual(exported.map(([name]) => name).sort())
    for (const [name, value] of exported) {
      expect(name in structures, `${name} is listed as what it is`).toBe(isLayout(value))
      expect(name in groups, `${name} is listed as what it is`).toBe(typeof value === 'object' && !isLayout(value))
    }
  })

  test('agree with the headers in every size, offset, sign and value', () => {
    expect(ourAnswers()).toEqual(expected)
  })

  test.skipIf(reason !== undefined)(`the recorded values are what gcc says here${reason ? ` (SKIPPED: ${reason})` : ''}`, () => {
    expect(askCompiler()).toEqual(expected)
  })

  test('agree with the headers of 32-bit guests in every size, offset and sign', () => {
    expect(ourCompatAnswers()).toEqual(expectedCompat)
  })

  test.skipIf(reason !== undefined)(`the recorded values of 32-bit guests are what gcc says here${reason ? ` (SKIPPED: ${reason})` : ''}`, () => {
    expect(askCompatCompiler()).toEqual(expectedCompat)
  })

  test('give a reason for each structure without a 32-bit form, or the name that it has there', () => {
    for (const [name, why] of Object.entries(NATIVE_STRUCTURES)) {
      expect(name in STRUCTURES, name).toBe(true)
      if (!why.includes(' ')) expect(name in COMPAT_STRUCTURES || why in COMPAT_STRUCTURES, why).toBe(true)
    }
  })
})

describe('an overlay over guest memory', () => {
  test('of a guest context has the size that saved images carry', () => {
    expect(abi.VcpuGuestContext.size).toBe(5168)
    expect(abi.DomctlExtVcpucontext.size).toBe(64)
  })

  test('has CR3 of a 32-bit guest turned by twelve bits, as xen_pfn_to_cr3 turns it', () => {
    const frames = [1, 0xf_ffff, 0x12_3456, 0x8000_0001] as const
    expect(frames.map((frame) => abi.COMPAT.cr3Of(frame))).toEqual([0x1000, 0xffff_f000, 0x2345_6001, 0x1800])
    expect(frames.map((frame) => abi.COMPAT.frameOfCr3(abi.COMPAT.cr3Of(frame)))).toEqual(frames)
    expect(abi.NATIVE.cr3Of(0x12_3456)).toBe(0x1_2345_6000)
  })

  test('reaches the words of shared_info that a two-level event channel uses', () => {
    const view = new DataView(new ArrayBuffer(4096))
    const { evtchnPending, evtchnMask, vcpuInfo } = abi.SharedInfo
    expect(evtchnPending.at(0, 63) + evtchnPending.stride).toBe(evtchnMask.at(0, 0))
    abi.VcpuInfo.evtchnUpcallPending.set(view, vcpuInfo.at(0, 31), 1)
    expect(view.getUint8(31 * 64)).toBe(1)
  })
})
