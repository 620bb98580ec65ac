import { describe, expect, test } from 'vitest'
import { HANDLERS } from '../../../../src/xenstore/server/request-handlers.ts'
import {
  OPERATIONS, OPERATION_BY_NUMBER, decodeServerMessage, operationNumber, requestBody, type StoreRequest,
} from '../../../../src/xenstore/protocol/messages.ts'
import { STORE_OPS } from '../../../../src/testing/index.ts'

test('every operation has one number, one row and one handler', () => {
  const numbers = OPERATIONS.map(({ number }) => number)
  const names = OPERATIONS.map(({ op }) => op)
  expect(new Set(numbers).size).toBe(numbers.length)
  expect(new Set(names).size).toBe(names.length)
  expect(Object.keys(HANDLERS).sort()).toEqual([...names].sort())
  for (const row of OPERATIONS) expect(OPERATION_BY_NUMBER[row.number]).toBe(row)
})

test('every number of the protocol that a client may send has an operation', () => {
  const serverOnly: readonly number[] = [STORE_OPS.WATCH_EVENT, STORE_OPS.ERROR]
  for (let number = 0; number <= 26; number += 1) {
    const exists = number !== 20 && !serverOnly.includes(number)
    expect(OPERATION_BY_NUMBER[number] !== undefined, `operation ${number}`).toBe(exists)
  }
})

const requests: readonly [StoreRequest, string, string][] = [
  [{ op: 'control', words: ['print', 'x'] }, 'CONTROL', 'print|x|'],
  [{ op: 'directory', path: '/a' }, 'DIRECTORY', '/a|'],
  [{ op: 'read', path: 'a/b' }, 'READ', 'a/b|'],
  [{ op: 'get-permissions', path: '@releaseDomain' }, 'GET_PERMS', '@releaseDomain|'],
  [{ op: 'watch', path: '/a', token: 't k', depth: undefined }, 'WATCH', '/a|t k|'],
  [{ op: 'watch', path: '/a', token: '', depth: 3 }, 'WATCH', '/a||3|'],
  [{ op: 'unwatch', path: '/a', token: 't' }, 'UNWATCH', '/a|t|'],
  [{ op: 'transaction-start' }, 'TRANSACTION_START', '|'],
  [{ op: 'transaction-end', outcome: 'commit' }, 'TRANSACTION_END', 'T|'],
  [{ op: 'transaction-end', outcome: 'abort' }, 'TRANSACTION_END', 'F|'],
  [{ op: 'introduce', domid: 5, frame: 123456, port: 3 }, 'INTRODUCE', '5|123456|3|'],
  [{ op: 'release', domid: 5 }, 'RELEASE', '5|'],
  [{ op: 'get-domain-path', domid: 65535 }, 'GET_DOMAIN_PATH', '65535|'],
  [{ op: 'write', path: '/a', value: Uint8Array.of(0, 255, 65) }, 'WRITE', '/a||\u00ffA'],
  [{ op: 'mkdir', path: '/a' }, 'MKDIR', '/a|'],
  [{ op: 'rm', path: '/a' }, 'RM', '/a|'],
  [
    { op: 'set-permissions', path: '/a', permissions: [{ domid: 0, access: 0 }, { domid: 5, access: 3 }] },
    'SET_PERMS', '/a|n0|b5|',
  ],
  [{ op: 'is-domain-introduced', domid: 1 }, 'IS_DOMAIN_INTRODUCED', '1|'],
  [{ op: 'resume', domid: 1 }, 'RESUME', '1|'],
  [{ op: 'set-target', domid: 1, target: 2 }, 'SET_TARGET', '1|2|'],
  [{ op: 'reset-watches' }, 'RESET_WATCHES', '|'],
  [{ op: 'directory-part', path: '/a', offset: 4096 }, 'DIRECTORY_PART', '/a|4096|'],
  [{ op: 'get-feature', domid: undefined }, 'GET_FEATURE', ''],
  [{ op: 'get-feature', domid: 3 }, 'GET_FEATURE', '3|'],
  [{ op: 'set-feature', domid: 3, features: 7 }, 'SET_FEATURE', '3|7|'],
  [{ op: 'get-quota', domid: undefined, quota: undefined }, 'GET_QUOTA', ''],
  [{ op: 'get-quota', domid: undefined, quota: 'nodes' }, 'GET_QUOTA', 'nodes|'],
  [{ op: 'get-quota', domid: 3, quota: 'nodes' }, 'GET_QUOTA', '3|nodes|'],
  [{ op: 'set-quota', domid: undefined, quota: 'nodes', value: 9 }, 'SET_QUOTA', 'nodes|9|'],
  [{ op: 'set-quota', domid: 3, quota: 'nodes', value: 9 }, 'SET_QUOTA', '3|nodes|9|'],
]

describe('a request becomes the bytes of the protocol and comes back from them:', () => {
  test.each(requests)('%j', (request, name, body) => {
    expect(operationNumber(request.op)).toBe(STORE_OPS[name as keyof typeof STORE_OPS])
    const { text, value } = requestBody(request)
    const bytes = Uint8Array.from([...[...text].map((c) => c.charCodeAt(0)), ...(value ?? [])])
    expect(String.fromCharCode(...bytes).replaceAll('\0', '|')).toBe(body)
    const around = new Uint8Array(bytes.length + 20).fill(65)
    around.set(bytes, 10)
    const row = OPERATION_BY_NUMBER[operationNumber(request.op)]!
    expect(row.decode({ body: around, start: 10, end: 10 + bytes.length })).toEqual(request)
  })
})

test('a client tells replies, errors and events apart, and survives nonsense', () => {
  const decode = (type: number, text: string) => {
    const body = Uint8Array.from(text.replaceAll('|', '\0'), (c) => c.charCodeAt(0))
    return decodeServerMessage(type, { body, start: 0, end: body.length })
  }
  expect(decode(STORE_OPS.READ, 'v')).toEqual({ kind: 'reply', type: 2, value: Uint8Array.of(118) })
  expect(decode(STORE_OPS.ERROR, 'ENOENT|')).toEqual({ kind: 'error', name: 'ENOENT' })
  expect(decode(STORE_OPS.ERROR, '')).toEqual({ kind: 'error', name: '' })
  expect(decode(STORE_OPS.WATCH_EVENT, '/a|t|')).toEqual({ kind: 'event', path: '/a', token: 't' })
  expect(decode(STORE_OPS.WATCH_EVENT, '/a')).toEqual({ kind: 'unknown' })
})

test.each([3, 1000])('a value of %i bytes is a copy, also of a Buffer, whose own slice is none', (length) => {
  const body = Buffer.alloc(3 + length, 'x')
  body.write('/a\0', 0, 'latin1')
  const place = { body, start: 0, end: body.length }
  const request = OPERATION_BY_NUMBER[STORE_OPS.WRITE]!.decode(place)
  const reply = decodeServerMessage(STORE_OPS.READ, { ...place, start: 3 })
  body.fill(0)
  const value = new Uint8Array(length).fill('x'.charCodeAt(0))
  expect(request).toEqual({ op: 'write', path: '/a', value })
  expect(reply).toEqual({ kind: 'reply', type: STORE_OPS.READ, value })
})
