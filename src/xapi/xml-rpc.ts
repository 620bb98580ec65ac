/**
 * Calls of a pool as XML-RPC: a text in, a text out. The XML is read by a parser that is given, `fast-xml-parser` in `paravirt/node`: one
 * that many use, which expands no entities of a document's own.
 * Reference: xmlrpc.com, "XML-RPC Specification".
 */
import { XapiFailure } from './database.ts'
import type { XapiPool } from './xapi-pool.ts'

/** An element: its name and its children, or its text. */
export interface XmlElement {
  readonly name: string
  readonly children: readonly XmlElement[]
  readonly text: string
}

/** Reads a document; throws where it is none. */
export type XmlParser = (text: string) => XmlElement

const bad = (what: string): XapiFailure => new XapiFailure('MESSAGE_PARAMETER_COUNT_MISMATCH', what)
const child = ({ children }: XmlElement, name: string): XmlElement => {
  const found = children.find((one) => one.name === name)
  if (found === undefined) throw bad(`no ${name}`)
  return found
}

function read(value: XmlElement, depth = 0): unknown {
  if (depth > 32) throw bad('values nested too deep')
  const [typed] = value.children
  if (typed === undefined) return value.text
  switch (typed.name) {
    case 'string': return typed.text
    case 'boolean': return typed.text.trim() === '1'
    case 'int': case 'i4': case 'i8': case 'double': return Number(typed.text)
    case 'dateTime.iso8601': return new Date(typed.text.replace(/^(\d{4})(\d\d)(\d\d)T/, '$1-$2-$3T'))
    case 'nil': return ''
    case 'array': return child(typed, 'data').children.map((item) => read(item, depth + 1))
    case 'struct': return Object.fromEntries(typed.children.map((member) => [child(member, 'name').text, read(child(member, 'value'), depth + 1)]))
    default: throw bad(typed.name)
  }
}

const escaped = (text: string): string => text.replace(/[&<>]/g, (mark) => (mark === '&' ? '&amp;' : mark === '<' ? '&lt;' : '&gt;'))

function write(value: unknown): string {
  if (typeof value === 'boolean') return `<value><boolean>${value ? 1 : 0}</boolean></value>`
  // XAPI's whole numbers are texts, as they have 64 bits; its others are doubles.
  if (typeof value === 'number') return Number.isInteger(value) && Math.abs(value) < 2 ** 31 ? `<value><i4>${value}</i4></value>` : `<value><double>${value}</double></value>`
  if (value instanceof Date) return `<value><dateTime.iso8601>${value.toISOString().slice(0, 19).replace(/-/g, '')}Z</dateTime.iso8601></value>`
  if (Array.isArray(value)) return `<value><array><data>${value.map(write).join('')}</data></array></value>`
  if (typeof value === 'object' && value !== null) {
    return `<value><struct>${Object.entries(value).map(([name, field]) => `<member><name>${escaped(name)}</name>${write(field)}</member>`).join('')}</struct></value>`
  }
  return `<value>${escaped(String(value))}</value>`
}

/** Answers one request, as XAPI does: with a structure of `Status` and `Value` or `ErrorDescription`. */
export async function xmlRpc(pool: XapiPool, body: string, parse: XmlParser): Promise<string> {
  let answer: unknown
  try {
    const call = parse(body)
    if (call.name !== 'methodCall') throw bad(call.name)
    const parameters = call.children.find(({ name }) => name === 'params')?.children.map((one) => read(child(one, 'value'))) ?? []
    const name = child(call, 'methodName').text.trim()
    const value = await pool.call(name, parameters)
    answer = name === 'system.listMethods' ? value : { Status: 'Success', Value: value }
  } catch (error) {
    answer = { Status: 'Failure', ErrorDescription: error instanceof XapiFailure ? error.description : ['INTERNAL_ERROR', 'this is no request'] }
  }
  return `<?xml version="1.0"?><methodResponse><params><param>${write(answer)}</param></params></methodResponse>`
}
