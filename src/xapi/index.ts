/**
 * The XenAPI, as much of it as XAPI's clients use, on a simulated pool of hosts: for testing what talks to XenServer and XCP-ng.
 * `listenXapi` of `paravirt/node` serves it over HTTP.
 *
 * @example
 * import { listenXapi } from 'paravirt/node'
 * import { XapiPool } from 'paravirt/xapi'
 *
 * const pool = await XapiPool.boot({ hosts: [{ name: 'one' }, { name: 'two' }] })
 * const server = await listenXapi(pool, { port: 8080 })
 *
 * @module
 */
export { Database, NULL_REF, XapiFailure } from './database.ts'
export type { XapiEvent, XapiRecord, XapiValue } from './database.ts'
export { jsonRpc } from './json-rpc.ts'
export { xmlRpc } from './xml-rpc.ts'
export type { XmlElement, XmlParser } from './xml-rpc.ts'
export { XapiPool } from './xapi-pool.ts'
export type { XapiPoolOptions } from './xapi-pool.ts'
