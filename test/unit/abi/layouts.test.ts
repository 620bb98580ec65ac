/** Our tables against the C compiler's reading of Xen's headers. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import * as abi from '../../../src/abi/index.ts'
import type { Field } from '../../../src/util/index.ts'
import * as x86 from '../../../src/x86/index.ts'
import { CONSTANTS, GROUPS, STRUCTURES } from './c-names.ts'
import { askCompiler, isLayout, whyNoCompiler, type Answers } from './c-program.ts'

const expected = JSON.parse(readFileSync(new URL('./expected.json', import.meta.url), 'utf8')) as Answers
/** What stands in Xen's headers: the size of a page is the processor's. */
const exported = (Object.entries(abi) as [string, unknown][]).filter(([name]) => !(name in x86))
const reason = whyNoCompiler()

/** Whether a field reads all-ones as a negative number. */
function isSigned(field: Field): boolean {
  const view = new DataView(new Uint8Array(field.offset + 8).fill(0xff).buffer)
  return field.kind === 'number' && field.get(view, 0) < 0
}

/** What the tables say, in the form of the compiler's answers. */
function ourAnswers(): Answers {
  const answers: Answers = {}
  for (const [name, value] of exported) {
    if (isLayout(value)) {
      answers[name] = value.size
      for (const [key, field] of Object.entries(value.fields)) {
        answers[`${name}.${key}`] = [field.offset, field.size, isSigned(field)]
      }
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, constant] of Object.entries(value)) answers[`${name}.${key}`] = constant as number | string
    } else answers[name] = value as number
  }
  return answers
}

describe('the ABI tables', () => {
  test('have a C name for everything they export, and name nothing that is not exported', () => {
    const named = [...Object.keys(STRUCTURES), ...Object.keys(GROUPS), ...Object.keys(CONSTANTS)]
    expect(named.sort()).toEqual(exported.map(([name]) => name).sort())
    for (const [name, value] of exported) {
      expect(name in STRUCTURES, `${name} is listed as what it is`).toBe(isLayout(value))
      expect(name in GROUPS, `${name} is listed as what it is`).toBe(typeof value === 'object' && !isLayout(value))
    }
  })

  test('agree with the headers in every size, offset, sign and value', () => {
    expect(ourAnswers()).toEqual(expected)
  })

  test.skipIf(reason !== undefined)(`the recorded values are what gcc says here${reason ? ` (${reason})` : ''}`, () => {
    expect(askCompiler()).toEqual(expected)
  })
})

describe('an overlay over guest memory', () => {
  test('of a guest context has the size that saved images carry', () => {
    expect(abi.VcpuGuestContext.size).toBe(5168)
    expect(abi.DomctlExtVcpucontext.size).toBe(64)
  })

  test('reaches the words of shared_info that a two-level event channel uses', () => {
    const view = new DataView(new ArrayBuffer(4096))
    const { evtchnPending, evtchnMask, vcpuInfo } = abi.SharedInfo
    expect(evtchnPending.at(0, 63) + evtchnPending.stride).toBe(evtchnMask.at(0, 0))
    abi.VcpuInfo.evtchnUpcallPending.set(view, vcpuInfo.at(0, 31), 1)
    expect(view.getUint8(31 * 64)).toBe(1)
  })
})
