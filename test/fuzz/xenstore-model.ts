/**
 * A XenStore that is as simple as can be: a flat list of nodes, transactions as lists of what they have touched, and
 * every watch compared with every change. It takes any message as type, body and transaction, and gives the answer as
 * text. It shares no code with the store that it is compared with, and knows no bytes, no rings and no time.
 */

import type { ModelClient, Node, Touched, Transaction, Watch } from './xenstore-model-types.ts'

interface View {
  get(path: string): Node | undefined
  set(path: string, node: Node | undefined): void
}

const ANY = 32757
const OK = 'OK\0'
const QUOTAS = new Map([
  ['nodes', 1000], ['watches', 128], ['outstanding', 20], ['memory', 2621440], ['soft-memory', 2097152],
  ['transactions', 10], ['transaction-nodes', 1024], ['node-permissions', 5], ['path-max', 2048], ['node-size', 2048],
])
const PRIVILEGED = [0, 8, 9, 17, 18, 19, 24, 25, 26]
const last = (path: string): string => path.slice(path.lastIndexOf('/') + 1)
const up = (path: string): string => path.slice(0, Math.max(1, path.lastIndexOf('/'))).replace(/^@.*/, '/')
const idOf = (perm: string): number => Number(perm.slice(1))

/** Reads a whole number up to a limit, or refuses. */
type NumberReader = (text: string | undefined, limit: number) => number

class Refused extends Error {}
const refuse = (name: string): never => {
  throw new Refused(name)
}

/** The model. */
export class ModelStore {
  readonly clients: ModelClient[] = []
  private nodes = new Map<string, Node>()
  private version = 1
  private features = new Map<number, number>()
  private limits = new Map<number, Map<string, number>>()
  private defaults = new Map(QUOTAS)
  private watchOrder: { client: ModelClient; watch: Watch }[] = []

  constructor() {
    this.nodes.set('/', this.fresh('', ['n0'], ['tool']))
    this.nodes.set('/tool', this.fresh('', ['n0'], ['xenstored']))
    for (const path of ['/tool/xenstored', '@introduceDomain']) this.nodes.set(path, this.fresh('', ['n0']))
    this.nodes.set('@releaseDomain', this.fresh('', ['n0', `r${ANY}`]))
  }

  connect(domid: number): ModelClient {
    const client = { domid, transactions: new Map(), watches: [], events: [], next: 1 }
    this.clients.push(client)
    this.known(domid)
    return client
  }

  private fresh(value: string, perms: string[], children: string[] = []): Node {
    return { value, perms, version: this.version++, children }
  }

  /** A domain gets the limits of the moment at which it is first mentioned. */
  private known(domid: number): Map<string, number> {
    if (!this.limits.has(domid)) this.limits.set(domid, new Map(this.defaults))
    return this.limits.get(domid)!
  }

  private limit(client: ModelClient, name: string): number {
    return client.domid === 0 ? Infinity : this.known(client.domid).get(name)! || Infinity
  }

  /** Answers one message: the reply's body, or `!` and an error's name. */
  answer(client: ModelClient, type: number, body: string, tx: number): string {
    try {
      if (type > 26 || [15, 16, 20].includes(type)) refuse('ENOSYS')
      if (PRIVILEGED.includes(type) && client.domid !== 0) refuse('EACCES')
      const outside = type === 4 || type === 5
      if (!outside && tx !== 0 && !client.transactions.has(tx)) refuse('ENOENT')
      return this.dispatch(client, type, body, outside ? 0 : tx)
    } catch (error) {
      if (error instanceof Refused) return `!${error.message}\0`
      throw error
    }
  }

  private dispatch(client: ModelClient, type: number, body: string, tx: number): string {
    const words = body.split('\0').slice(0, -1)
    const only = (): string => (words.length === 1 && body.endsWith('\0') ? words[0]! : refuse('EINVAL'))
    const number = (text: string | undefined, limit: number): number =>
      text !== undefined && /^\d{1,10}$/.test(text) && Number(text) <= limit ? Number(text) : refuse('EINVAL')
    switch (type) {
      case 0: return this.control(words)
      case 1: return this.list(client, tx, only())
      case 2: return this.readable(client, tx, only()).value
      case 3: return this.readable(client, tx, only(), true).perms.map((perm) => `${perm}\0`).join('')
      case 4: return this.watch(client, words)
      case 5: return this.unwatch(client, words)
      case 6: return this.start(client, tx)
      case 7: return this.end(client, tx, only())
      case 8: return refuse('EINVAL')
      case 9:
      case 18: return number(only(), 65535) === 0 ? refuse('EINVAL') : refuse('ENOENT')
      case 10: return `/local/domain/${number(only(), 65535)}\0`
      case 11: {
        const path = words[0] ?? refuse('EINVAL')
        return this.write(client, tx, path, body.slice(path.length + 1))
      }
      case 12: return this.write(client, tx, only(), undefined)
      case 13: return this.remove(client, tx, only())
      case 14: return this.setPerms(client, tx, words)
      case 17: return number(only(), 65535) === 32752 ? 'T\0' : 'F\0'
      case 19: return number(words[0], 65535) + number(words[1], 65535) < 0 ? OK : refuse('ENOENT')
      case 21: return this.reset(client)
      case 22: return this.part(client, tx, words, number)
      case 23: return this.getFeature(client, words, number)
      case 24: return this.setFeature(words, number)
      case 25: return this.getQuota(words, number)
      default: return this.setQuota(words, number)
    }
  }

  private control(words: string[]): string {
    if (words[0] === 'check' || words[0] === 'print') return OK
    return words[0] === 'help' || words[0] === 'quota' ? refuse('SKIP') : refuse('EINVAL')
  }

  private getFeature(client: ModelClient, words: string[], number: NumberReader): string {
    if (words.length === 0) return `${this.features.get(client.domid) ?? 15}\0`
    const domid = number(words[0], 65535)
    if (words.length > 1) refuse('EINVAL')
    if (client.domid !== 0) refuse('EACCES')
    this.known(domid)
    return `${this.features.get(domid) ?? 15}\0`
  }

  private setFeature(words: string[], number: NumberReader): string {
    const domid = words.length === 2 ? number(words[0], 65535) : refuse('EINVAL')
    const features = number(words[1], 0xffffffff)
    if (features > 15) refuse('EINVAL')
    this.known(domid)
    this.features.set(domid, features)
    return OK
  }

  private getQuota(words: string[], number: NumberReader): string {
    if (words.length > 2) refuse('EINVAL')
    if (words.length === 0) return `${[...QUOTAS.keys()].join(' ')}\0`
    const limits = words.length === 1 ? this.defaults : this.known(number(words[0], 65535))
    return `${limits.get(words[words.length - 1]!) ?? refuse('EINVAL')}\0`
  }

  private setQuota(words: string[], number: NumberReader): string {
    if (words.length < 2 || words.length > 3) refuse('EINVAL')
    const value = number(words[words.length - 1], 0xffffffff)
    const domid = words.length === 3 ? number(words[0], 65535) : undefined
    const limits = domid === undefined ? this.defaults : this.known(domid)
    const name = words[words.length - 2]!
    if (!QUOTAS.has(name)) refuse('EINVAL')
    limits.set(name, value)
    return OK
  }

  // Paths and permissions

  private absolute(client: ModelClient, given: string, special = false): string {
    if (given.startsWith('@') && !special) refuse('EINVAL')
    const path = /^[/@]/.test(given) ? given : `/local/domain/${client.domid}/${given}`
    if (!/^[A-Za-z0-9\-/_@]*$/.test(path) || path.includes('//')) refuse('EINVAL')
    if (path.endsWith('/') && path !== '/') refuse('EINVAL')
    const own = path.replace(/^\/local\/domain\/\d{1,5}\//, '')
    const max = this.known(client.domid).get('path-max')! || Infinity
    if (path.length > 3072 || own.length > max) refuse('EINVAL')
    return path
  }

  private may(client: ModelClient, perms: string[], right: 'r' | 'w' | 'owner'): boolean {
    if (client.domid === 0) return true
    const about = (perm: string): boolean => idOf(perm) === client.domid || idOf(perm) === ANY
    if (about(perms[0]!)) return true
    if (right === 'owner') return false
    const entry = perms.slice(1).find(about) ?? perms[0]!
    return entry[0] === 'b' || entry[0] === right
  }

  private view(client: ModelClient, tx: number): View {
    if (tx === 0) {
      return {
        get: (path) => this.nodes.get(path),
        set: (path, node) => void (node === undefined ? this.nodes.delete(path) : this.nodes.set(path, node)),
      }
    }
    const transaction = client.transactions.get(tx)!
    const touch = (path: string): Touched => {
      let touched = transaction.nodes.get(path)
      if (touched === undefined) {
        if (transaction.nodes.size + 1 > this.limit(client, 'transaction-nodes')) {
          transaction.spoiled = true
          refuse('ENOSPC')
        }
        const seen = this.nodes.get(path)
        touched = { seen, now: seen, changed: false, fire: undefined }
        transaction.nodes.set(path, touched)
      }
      return touched
    }
    return {
      get: (path) => touch(path).now,
      set: (path, node) => {
        const touched = touch(path)
        touched.now = node
        touched.changed = true
      },
    }
  }

  /** The node, or the error that somebody with these rights above it may know. */
  private permitted(client: ModelClient, view: View, path: string, right: 'r' | 'w' | 'owner'): Node | 'ENOENT' {
    const node = view.get(path)
    if (node !== undefined && this.may(client, node.perms, right)) return node
    let above = up(path)
    while (view.get(above) === undefined) above = up(above)
    const soft = right === 'owner' ? 'w' : right
    if (!this.may(client, view.get(above)!.perms, soft)) refuse('EACCES')
    return node === undefined ? 'ENOENT' : refuse('EACCES')
  }

  private readable(client: ModelClient, tx: number, given: string, special = false): Node {
    const node = this.permitted(client, this.view(client, tx), this.absolute(client, given, special), 'r')
    return node === 'ENOENT' ? refuse('ENOENT') : node
  }

  private list(client: ModelClient, tx: number, given: string): string {
    const text = this.readable(client, tx, given).children.map((name) => `${name}\0`).join('')
    return text.length > 4096 ? refuse('E2BIG') : text
  }

  private part(client: ModelClient, tx: number, words: string[], number: NumberReader): string {
    if (words.length !== 2) refuse('EINVAL')
    number(words[1], 0xffffffff)
    this.readable(client, tx, words[0]!)
    return refuse('SKIP')
  }

  // Changes

  private sizeOf(node: Node): number {
    const names = node.children.reduce((sum, name) => sum + name.length + 1, 0)
    return 16 + 8 * node.perms.length + node.value.length + names
  }

  private owned(domid: number): number {
    return [...this.nodes.values()].filter((node) => idOf(node.perms[0]!) === domid).length
  }

  private added(transaction: Transaction, domid: number): number {
    const mine = (node: Node | undefined): number => (node !== undefined && idOf(node.perms[0]!) === domid ? 1 : 0)
    return [...transaction.nodes.values()].reduce((sum, { seen, now, changed }) =>
      sum + (changed ? mine(now) - mine(seen) : 0), 0)
  }

  private spoil(client: ModelClient, tx: number): void {
    const transaction = client.transactions.get(tx)
    if (transaction !== undefined) transaction.spoiled = true
  }

  private write(client: ModelClient, tx: number, given: string, value: string | undefined): string {
    const path = this.absolute(client, given)
    const view = this.view(client, tx)
    const node = this.permitted(client, view, path, 'w')
    if (node === 'ENOENT') this.create(client, tx, path, value ?? '')
    else if (value !== undefined) {
      const next = { ...node, value, version: this.version++ }
      if (this.sizeOf(next) > this.limit(client, 'node-size')) {
        this.spoil(client, tx)
        refuse('ENOSPC')
      }
      view.set(path, next)
      this.changed(client, tx, path, 'subtree', node.perms, false)
    }
    return OK
  }

  private create(client: ModelClient, tx: number, path: string, value: string): void {
    const view = this.view(client, tx)
    const missing = [path]
    while (view.get(up(missing[missing.length - 1]!)) === undefined) missing.push(up(missing[missing.length - 1]!))
    const top = missing[missing.length - 1]!
    const parent = view.get(up(top))!
    const perms = [...parent.perms]
    if (client.domid !== 0) perms[0] = perms[0]![0]! + client.domid
    const transaction = client.transactions.get(tx)
    const used = this.owned(client.domid) + (transaction === undefined ? 0 : this.added(transaction, client.domid))
    const size = this.limit(client, 'node-size')
    const tooLarge = (bytes: number): void => {
      if (bytes <= size) return
      this.spoil(client, tx)
      refuse('ENOSPC')
    }
    for (let i = 0; i < missing.length; i += 1) {
      if (used + i + 1 > this.limit(client, 'nodes')) {
        if (i > 0) this.spoil(client, tx)
        refuse('ENOSPC')
      }
      tooLarge(16 + 8 * perms.length + (i === 0 ? value.length : last(missing[i - 1]!).length + 1))
    }
    tooLarge(this.sizeOf(parent) + last(top).length + 1)
    for (const [i, each] of missing.entries()) {
      view.set(each, this.fresh(i === 0 ? value : '', [...perms], i === 0 ? [] : [last(missing[i - 1]!)]))
    }
    // Within a transaction the parent may still list a child that others have removed meanwhile.
    const children = [...new Set([...parent.children, last(top)])]
    view.set(up(top), { ...parent, children, version: this.version++ })
    this.changed(client, tx, path, 'subtree', undefined, false)
  }

  private remove(client: ModelClient, tx: number, given: string): string {
    const path = this.absolute(client, given)
    const view = this.view(client, tx)
    const node = this.permitted(client, view, path, 'w')
    if (node === 'ENOENT') return view.get(up(path)) === undefined ? refuse('ENOENT') : OK
    if (path === '/') refuse('EINVAL')
    if (view.get(up(path)) === undefined) refuse('EINVAL')
    const before = new Map(this.nodes)
    const order: string[] = []
    const visit = (at: string): void => {
      const found = view.get(at)
      if (found === undefined) return
      for (const name of found.children) visit(`${at}/${name}`)
      order.push(at)
    }
    visit(path)
    for (const each of order) view.set(each, undefined)
    const parent = view.get(up(path))!
    const children = parent.children.filter((name) => name !== last(path))
    view.set(up(path), { ...parent, children, version: this.version++ })
    for (const each of order) {
      this.changed(client, tx, each, each === path ? 'subtree' : 'exact', before.get(each)?.perms, false, before)
    }
    return OK
  }

  private setPerms(client: ModelClient, tx: number, words: string[]): string {
    const [given, ...perms] = words
    if (given === undefined || perms.length === 0) refuse('EINVAL')
    for (const perm of perms) if (!/^[nrwb]\d{1,5}$/.test(perm) || idOf(perm) > 65535) refuse('EINVAL')
    const list = perms.map((perm) => perm[0]! + idOf(perm))
    if (list.length > this.limit(client, 'node-permissions')) refuse('ENOSPC')
    for (const perm of list) if (idOf(perm) !== ANY) this.known(idOf(perm))
    const path = this.absolute(client, given!, true)
    const view = this.view(client, tx)
    const node = this.permitted(client, view, path, 'owner')
    if (node === 'ENOENT') return refuse('ENOENT')
    if (client.domid !== 0 && idOf(list[0]!) !== idOf(node.perms[0]!)) refuse('EPERM')
    const next = { ...node, perms: list, version: this.version++ }
    if (this.sizeOf(next) > this.limit(client, 'node-size')) {
      this.spoil(client, tx)
      refuse('ENOSPC')
    }
    view.set(path, next)
    this.changed(client, tx, path, 'subtree', node.perms, true)
    return OK
  }

  // Watches

  private watch(client: ModelClient, words: string[]): string {
    if (words.length < 2 || words.length > 3) refuse('EINVAL')
    if (words.length === 3 && !(/^\d{1,10}$/.test(words[2]!) && Number(words[2]) <= 0x7fffffff)) refuse('EINVAL')
    if (words.length === 3 && ((this.features.get(client.domid) ?? 15) & 4) === 0) refuse('EINVAL')
    const path = this.absolute(client, words[0]!, true)
    const token = words[1]!
    if (client.watches.some((watch) => watch.path === path && watch.token === token)) refuse('EEXIST')
    if (client.watches.length + 1 > this.limit(client, 'watches')) refuse('ENOSPC')
    const cut = /^[/@]/.test(words[0]!) ? 0 : `/local/domain/${client.domid}/`.length
    const watch = { path, token, depth: words.length === 3 ? Number(words[2]) : -1, cut }
    client.watches.push(watch)
    this.watchOrder.push({ client, watch })
    client.events.push(`${path.slice(cut)} ${token}`)
    return OK
  }

  private unwatch(client: ModelClient, words: string[]): string {
    if (words.length !== 2) refuse('EINVAL')
    const path = /^[/@]/.test(words[0]!) ? words[0]! : `/local/domain/${client.domid}/${words[0]}`
    const place = client.watches.findIndex((watch) => watch.path === path && watch.token === words[1])
    if (place < 0) refuse('ENOENT')
    const [gone] = client.watches.splice(place, 1)
    this.watchOrder = this.watchOrder.filter(({ watch }) => watch !== gone)
    return OK
  }

  private reset(client: ModelClient): string {
    this.watchOrder = this.watchOrder.filter((each) => each.client !== client)
    client.watches.length = 0
    client.transactions.clear()
    return OK
  }

  private changed(
    client: ModelClient, tx: number, path: string, kind: 'exact' | 'subtree', old: string[] | undefined,
    useOld: boolean, before = this.nodes,
  ): void {
    const transaction = client.transactions.get(tx)
    if (transaction !== undefined) {
      const touched = transaction.nodes.get(path)!
      if (touched.fire !== 'subtree') touched.fire = kind
      return
    }
    const node = before.get(path)
    this.fire(path, kind, useOld ? old : undefined, node?.perms, before)
  }

  private fire(
    path: string, kind: 'exact' | 'subtree', old: string[] | undefined, now: string[] | undefined,
    nodes: Map<string, Node>,
  ): void {
    for (const { client, watch } of this.watchOrder) {
      const below = watch.path === '/' ? path : path.slice(watch.path.length)
      const inside = path === watch.path || (path.startsWith('/') && path.startsWith(watch.path)
        && (watch.path === '/' || path[watch.path.length] === '/'))
      if (kind === 'exact' ? path !== watch.path : !inside) continue
      const levels = path === watch.path ? 0 : below.split('/').length - 1
      if (watch.depth >= 0 && levels > watch.depth) continue
      const parent = path.startsWith('@') ? undefined : nodes.get(up(path))?.perms
      const may = (perms: string[] | undefined): boolean => perms !== undefined && this.may(client, perms, 'r')
      const sees = may(old) || (now !== undefined && (may(now) || may(parent)))
      if (sees || client.domid === 0) client.events.push(`${path.slice(watch.cut)} ${watch.token}`)
    }
  }

  // Transactions

  private start(client: ModelClient, tx: number): string {
    if (tx !== 0) refuse('EBUSY')
    if (client.transactions.size + 1 > this.limit(client, 'transactions')) refuse('ENOSPC')
    this.version++
    while (client.next === 0 || client.transactions.has(client.next)) client.next = (client.next + 1) >>> 0
    const id = client.next
    client.next = (client.next + 1) >>> 0
    client.transactions.set(id, { nodes: new Map(), spoiled: false })
    return `${id}\0`
  }

  private end(client: ModelClient, tx: number, word: string): string {
    if (word !== 'T' && word !== 'F') refuse('EINVAL')
    const transaction = client.transactions.get(tx)
    if (transaction === undefined) return refuse('ENOENT')
    client.transactions.delete(tx)
    if (word === 'F') return OK
    if (transaction.spoiled) refuse('ENOMEM')
    this.mayGrow(client, transaction)
    for (const [path, { seen }] of transaction.nodes) {
      if (this.nodes.get(path)?.version !== seen?.version) refuse('EAGAIN')
    }
    for (const [path, { now, changed }] of transaction.nodes) {
      if (!changed) continue
      if (now === undefined) this.nodes.delete(path)
      else this.nodes.set(path, { ...now, version: this.version++ })
    }
    for (const [path, { fire, seen }] of transaction.nodes) {
      if (fire !== undefined) this.fire(path, fire, seen?.perms, this.nodes.get(path)?.perms, this.nodes)
    }
    return OK
  }

  private mayGrow(client: ModelClient, transaction: Transaction): void {
    if (client.domid === 0) return
    const nodes = [...transaction.nodes.values()].flatMap(({ now }) => now === undefined ? [] : [now])
    for (const owner of new Set(nodes.map((node) => idOf(node.perms[0]!)))) {
      const added = this.added(transaction, owner)
      const limit = owner === 0 ? Infinity : this.known(owner).get('nodes')! || Infinity
      if (added > 0 && this.owned(owner) + added > limit) refuse('ENOSPC')
    }
  }
}
