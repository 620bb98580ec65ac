import { describe, expect, test } from 'vitest'
import { readFileSync } from 'node:fs'
import { parseSdkLine, Properties, PropertySummary, SdkReader, type PropertyKind } from '../../../../src/testing/index.ts'

/** A line as the SDK writes it. */
const line = (display: string, fields: object): string => JSON.stringify({
  antithesis_assert: { hit: true, must_hit: true, assert_type: 'always', display_type: display, message: 'the message', condition: true, id: 'the message', details: { a: 1 }, ...fields },
})

describe('properties', () => {
  test('count what was looked at, and tell the first that did not hold', () => {
    const properties = new Properties()
    const heard: string[] = []
    properties.onViolation(({ kind, message }) => heard.push(`${kind} ${message}`))
    properties.always(true, 'money is kept')
    properties.sometimes(false, 'it is full')
    properties.reachable('the end')
    expect(properties.violation).toBeUndefined()
    properties.always(false, 'money is kept', { missing: 3 })
    properties.unreachable('the cellar')
    expect(properties.violation).toEqual({ kind: 'always', message: 'money is kept', details: { missing: 3 } })
    expect(heard).toEqual(['always money is kept', 'unreachable the cellar'])
    expect(properties.list()).toEqual([
      { kind: 'always', message: 'money is kept', hits: 2, held: 1, violations: 1 },
      { kind: 'sometimes', message: 'it is full', hits: 1, held: 0, violations: 0 },
      { kind: 'reachable', message: 'the end', hits: 1, held: 1, violations: 0 },
      { kind: 'unreachable', message: 'the cellar', hits: 1, held: 0, violations: 1 },
    ])
  })

  test('of many runs tell what none has seen', () => {
    const summary = new PropertySummary()
    for (const isFull of [false, true]) {
      const properties = new Properties()
      properties.sometimes(isFull, 'it is full')
      properties.sometimes(false, 'it is on fire')
      properties.hit({ kind: 'reachable', message: 'the cellar' })
      properties.hit({ kind: 'always', message: 'declared and never reached' })
      properties.hit({ kind: 'always-or-unreachable', message: 'declared, and need not be reached' })
      summary.add(properties.list())
    }
    expect(summary.unseen()).toEqual(['declared and never reached', 'it is on fire', 'the cellar'])
  })

  test('are bounded, whatever guests make up', () => {
    const properties = new Properties()
    for (let i = 0; i < 12_000; i += 1) properties.always(true, `${i} ${'x'.repeat(2000)}`)
    expect(properties.list()).toHaveLength(10_000)
    expect(properties.list()[0]!.message).toHaveLength(1000)
  })
})

describe('lines of the SDK', () => {
  test.each<[string, object, PropertyKind, boolean | undefined]>([
    ['Always', {}, 'always', true],
    ['Always', { condition: false }, 'always', false],
    ['AlwaysOrUnreachable', { must_hit: false }, 'always-or-unreachable', true],
    ['Sometimes', { assert_type: 'sometimes', condition: false }, 'sometimes', false],
    ['Reachable', { assert_type: 'reachability' }, 'reachable', true],
    ['Unreachable', { assert_type: 'reachability', must_hit: false, condition: false }, 'unreachable', false],
    ['', { assert_type: 'reachability', must_hit: false }, 'unreachable', true],
    ['', { must_hit: false }, 'always-or-unreachable', true],
    ['Sometimes', { assert_type: 'sometimes', hit: false, condition: false }, 'sometimes', undefined],
  ])('%s %o', (display, fields, kind, condition) => {
    expect(parseSdkLine(line(display, fields))).toEqual({ line: 'assert', hit: { kind, message: 'the message', condition, details: { a: 1 } } })
  })

  test('of the set-up tell its status', () => {
    for (const text of ['{"antithesis_setup":{"status":"complete","details":null}}', '{ "antithesis_setup": { "status": "complete", "details": null }}']) {
      expect(parseSdkLine(text)).toEqual({ line: 'setup', status: 'complete' })
    }
  })

  test.each([
    '', 'Linux version 6.12', '{"antithesis_assert"', '{"antithesis_assert":7}', '{"antithesis_assert":{"message":"m"}}', '{"antithesis_assert":null}',
    '{"antithesis_sdk":{"language":{"name":"Go"},"sdk_version":"0.4.3","protocol_version":"1.1.0"}}', '{"antithesis_guidance":{}}', '{"antithesis_assert":{"message":NaN}}',
    line('Constructor', { assert_type: '__proto__' }), line('Always', { message: 7, id: 8 }), line('Always', { details: 'x'.repeat(70_000) }),
  ])('that mean nothing change nothing: %s', (text) => {
    expect(parseSdkLine(text)).toBeUndefined()
  })

  test.each([
    ['cpp', 't.cpp:7, int main()', { index: 17, ratio: null }], ['python', 't.py:8, <module>', { index: 17, ratio: null, most: null }],
  ])('are read as the SDK for %s writes them, numbers that are none and all', (language, place, details) => {
    const properties = new Properties()
    const said: string[] = []
    new SdkReader(properties, (status) => said.push(status)).take(readFileSync(`test/golden/antithesis-sdk-${language}.jsonl`))
    const found = Object.fromEntries(properties.list().map(({ message, ...record }) => [message, record]))
    expect(found).toMatchObject({
      'the log is never ahead of its leader': { kind: 'always', hits: 1, held: 1, violations: 0 },
      'no acknowledged write is lost': { kind: 'always', hits: 1, held: 0, violations: 1 },
      'a snapshot has what it is of': { kind: 'always-or-unreachable', hits: 1, held: 1 },
      'a leader is voted out': { kind: 'sometimes', hits: 1, held: 0, violations: 0 },
      'a follower catches up': { kind: 'reachable', hits: 1, held: 1 },
      'two leaders in one term': { kind: 'unreachable', hits: 1, violations: 1 },
    })
    expect([said, properties.violation]).toEqual([['complete'], { kind: 'always', message: 'no acknowledged write is lost', details, place }])
    const summary = new PropertySummary()
    summary.add(properties.list())
    expect(summary.unseen()).toEqual(['a leader is voted out'])
  })

  test('come in any pieces, with prompts before them and carriage returns behind', () => {
    const text = `boot\r\n/ # ${line('Always', { message: 'one' })}\r\n${line('Sometimes', { message: 'two' })}\n${'y'.repeat(100_000)}\n{"antithesis_setup":{"status":"complete"}}\n${line('Always', { message: 'not ended' })}`
    for (const size of [1, 7, 1000, text.length]) {
      const properties = new Properties()
      const said: string[] = []
      const reader = new SdkReader(properties, (status) => said.push(status))
      for (let at = 0; at < text.length; at += size) reader.take(new TextEncoder().encode(text.slice(at, at + size)))
      expect([properties.list().map(({ message }) => message), said]).toEqual([['one', 'two'], ['complete']])
    }
  })
})
