/**
 * Messages of DNS, as far as a resolver that asks somebody else needs them: one question in, addresses or a name out. Bytes of strangers: what is
 * no question is told as such, and nothing is followed that points anywhere.
 *
 *   id 2 | flags 2 | questions 2 | answers 2 | authorities 2 | additional 2 | name, type 2, class 2
 *
 * Reference: RFC 1035.
 */
import { parseIp } from './packet.ts'

/** Types of questions that are answered. */
export const DNS_TYPE = { A: 1, PTR: 12 } as const
/** How a question was answered. */
export const DNS_CODE = { okay: 0, format: 1, failure: 2, noName: 3, unknown: 4, refused: 5 } as const

/** A question. */
export interface DnsQuestion {
  /** In lower case, without the dot at its end. */
  readonly name: string
  readonly type: number
  readonly class: number
  /** The message's header and the question as they came, which begin the answer. */
  readonly head: Uint8Array
}

const HEADER = 12
const CLASS_INTERNET = 1
/** A message over UDP without extensions. */
const MOST_BYTES = 512
const MOST_NAME = 253
/** Where the question's name stands, as a pointer. */
const NAME_POINTER = [0xc0, HEADER] as const
const TIME_TO_LIVE = [0, 0, 0, 60] as const

/** A question out of a message; undefined for what is no message, a code where it has to be answered by one. */
export function parseQuestion(bytes: Uint8Array): DnsQuestion | undefined {
  if (bytes.length < HEADER + 5 || (bytes[2]! & 0x80) !== 0 || (bytes[4]! << 8 | bytes[5]!) !== 1) return undefined
  const labels: string[] = []
  let at = HEADER
  for (let length = bytes[at]!; length > 0; length = bytes[at]!) {
    if (length > 63 || at + 1 + length >= bytes.length) return undefined
    labels.push(String.fromCharCode(...bytes.subarray(at + 1, at + 1 + length)))
    at += 1 + length
  }
  const name = labels.join('.').toLowerCase()
  if (at + 5 > bytes.length || name.length > MOST_NAME) return undefined
  const head = bytes.slice(0, at + 5)
  return { name, type: bytes[at + 1]! << 8 | bytes[at + 2]!, class: bytes[at + 3]! << 8 | bytes[at + 4]!, head }
}

/** Whether a question is one that there are answers to. */
export const isAnswerable = ({ type, class: kind, head }: DnsQuestion): boolean =>
  (type === DNS_TYPE.A || type === DNS_TYPE.PTR) && kind === CLASS_INTERNET && (head[2]! & 0x78) === 0

/** The address that a PTR question asks about; undefined where it is about none of IPv4. */
export function addressOf(name: string): string | undefined {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name)?.slice(1)
  return parts?.every((part) => Number(part) <= 255) === true ? parts.reverse().map(Number).join('.') : undefined
}

/** A name as labels; undefined for what is none. */
function labelsOf(name: string): readonly number[] | undefined {
  const labels = name.replace(/\.$/, '').split('.')
  if (name.length > MOST_NAME || labels.some((label) => label.length === 0 || label.length > 63 || !/^[\x21-\x7e]+$/.test(label))) return undefined
  return [...labels.flatMap((label) => [label.length, ...[...label].map((character) => character.charCodeAt(0))]), 0]
}

/** The content of a record; undefined for an answer that is none. */
function contentOf(type: number, answer: string): readonly number[] | undefined {
  if (type === DNS_TYPE.PTR) return labelsOf(answer)
  try {
    return [...parseIp(answer)]
  } catch {
    return undefined
  }
}

/** The answer to a question: addresses, or names, as many as have room. Answers that are none are left out. */
export function encodeAnswer({ head, type }: DnsQuestion, code: number, answers: readonly string[] = []): Uint8Array {
  const records: number[] = []
  let count = 0
  for (const content of answers.map((answer) => contentOf(type, answer))) {
    if (content === undefined || head.length + records.length + 12 + content.length > MOST_BYTES) continue
    records.push(...NAME_POINTER, type >>> 8, type & 0xff, 0, CLASS_INTERNET, ...TIME_TO_LIVE, content.length >>> 8, content.length & 0xff, ...content)
    count += 1
  }
  const message = new Uint8Array(head.length + records.length)
  message.set(head)
  // A response, to the kind of question and the wish for recursion that there was; recursion is there.
  message[2] = 0x80 | head[2]! & 0x79
  message[3] = 0x80 | code
  message.set([0, 1, 0, count, 0, 0, 0, 0], 4)
  message.set(records, head.length)
  return message
}
