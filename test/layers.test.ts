/**
 * The plan of the house, checked: imports point down only, no files, rooms or folders import each other in a circle,
 * `node:` stays in src/node, files stay small.
 */
import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'

const root = resolve(import.meta.dirname, '..')
const source = join(root, 'src')

/** What each folder may import; `types only` marks an import that must vanish at run time. */
const allowed: Record<string, readonly string[]> = {
  util: [],
  x86: ['util'],
  wasm: ['util'],
  abi: ['util', 'x86'],
  machine: ['util', 'x86', 'wasm'],
  hypervisor: ['util', 'x86', 'abi', 'machine (types only)'],
  rings: ['util', 'abi'],
  xenstore: ['util', 'abi', 'rings'],
  guest: ['util', 'x86', 'abi', 'rings', 'xenstore'],
  drivers: ['util', 'abi', 'rings', 'xenstore', 'guest'],
  toolstack: ['util', 'x86', 'wasm', 'abi', 'machine', 'hypervisor', 'rings', 'xenstore', 'guest', 'drivers'],
}
const below = allowed['toolstack']!
allowed['testing'] = [...below, 'toolstack']
allowed['debug'] = ['util', 'x86', 'abi', 'machine', 'hypervisor (types only)', 'toolstack']
allowed['xapi'] = ['util', 'drivers', 'toolstack']
allowed['decompress'] = ['util', 'toolstack (types only)']
allowed['fleet'] = ['util', 'toolstack']
allowed['node'] = [...below, 'toolstack', 'testing', 'debug', 'decompress', 'xapi', 'fleet']
allowed['browser'] = ['util', 'drivers', 'toolstack', 'testing (types only)']

/** Packages that the library itself may import. */
const packages = new Set(['eventemitter3', 'zod/mini', 'zod/locales'])

interface Import {
  readonly file: string
  readonly target: string
  readonly typesOnly: boolean
}

const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => join(source, name))

/** Static, re-exported and dynamic imports of one file. */
function importsOf(file: string): Import[] {
  const text = readFileSync(file, 'utf8')
  const found = text.matchAll(/^\s*(import|export)\s+(type\s)?[^'"\n]*?(?:\{[^}]*\}[^'"\n]*?)?from\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)|^import\s+'([^']+)'/gm)
  return [...found].map((m) => ({ file, target: (m[3] ?? m[4] ?? m[5])!, typesOnly: m[2] !== undefined }))
}

const layerOf = (file: string): string | undefined => {
  const [first, second] = relative(source, file).split('/')
  return second === undefined ? undefined : first
}
const imports = files.flatMap(importsOf)
const where = (found: Import): string => `${relative(root, found.file)} imports ${found.target}`

/** Why an import is wrong, or undefined. */
function complaint(found: Import): string | undefined {
  const layer = layerOf(found.file)
  if (!found.target.startsWith('.')) {
    // Types of a protocol's messages, of which nothing is left when it runs.
    if (found.target === '@vscode/debugprotocol' && found.typesOnly && layer === 'debug') return undefined
    const builtin = found.target.startsWith('node:')
    // Who imports the matchers has the runner that they are for.
    if (found.target === 'vitest' && relative(source, found.file).startsWith('testing/vitest/')) return undefined
    return builtin ? (layer === 'node' ? undefined : where(found)) : packages.has(found.target) ? undefined : where(found)
  }
  const target = resolve(dirname(found.file), found.target)
  const targetLayer = layerOf(target)
  if (layer === undefined || targetLayer === layer) return undefined
  const may = allowed[layer] ?? []
  if (targetLayer !== undefined && may.includes(targetLayer)) {
    return relative(source, target) === `${targetLayer}/index.ts` ? undefined : `${where(found)}: not through its index`
  }
  if (found.typesOnly && may.includes(`${targetLayer} (types only)`)) return undefined
  return where(found)
}

/** A graph of imports, those of types too: from each name to the names it imports. */
type Graph = ReadonlyMap<string, ReadonlySet<string>>

/** Groups of names that reach each other, by Tarjan's algorithm. */
function circles(graph: Graph): string[][] {
  const found: string[][] = []
  const order = new Map<string, number>()
  const low = new Map<string, number>()
  const stack: string[] = []
  const visit = (name: string): void => {
    order.set(name, order.size)
    low.set(name, order.get(name)!)
    stack.push(name)
    for (const next of graph.get(name) ?? []) {
      if (!order.has(next)) visit(next)
      if (stack.includes(next)) low.set(name, Math.min(low.get(name)!, low.get(next)!))
    }
    if (low.get(name) !== order.get(name)) return
    const group = stack.splice(stack.indexOf(name))
    if (group.length > 1) found.push(group.sort())
  }
  for (const name of graph.keys()) if (!order.has(name)) visit(name)
  return found
}

const folders = new Set(files.map((file) => relative(source, dirname(file))))
const holdsFolders = (folder: string): boolean => [...folders].some((other) => other !== folder && other.startsWith(folder === '' ? '' : `${folder}/`))

/** The room of a file: its folder, or the file itself where it lies beside folders. */
const roomOf = (file: string): string => (holdsFolders(dirname(file)) ? file : dirname(file))

/** Folders that hold folders. */
const besides = [...folders, ''].filter(holdsFolders)

/** The folder in `parent` that a file lies in, however deep; undefined for one that lies beside those folders, or elsewhere. */
const folderIn = (parent: string) => (file: string): string | undefined => {
  const within = relative(parent, file)
  return within.startsWith('..') || !within.includes('/') ? undefined : within.split('/')[0]
}

/** What imports what, by the names that `nameOf` gives files; a file without one is left out. */
function graphOf(found: readonly Import[], nameOf: (file: string) => string | undefined): Graph {
  const graph = new Map<string, Set<string>>()
  for (const { file, target } of found) {
    if (!target.startsWith('.')) continue
    const [from, to] = [nameOf(relative(source, file)), nameOf(relative(source, resolve(dirname(file), target)))]
    if (from === undefined || to === undefined) continue
    const known = graph.get(from) ?? new Set<string>()
    graph.set(from, from === to ? known : known.add(to))
  }
  return graph
}

describe('the layers', () => {
  test('every folder of src has a place in the table', () => {
    const folders = readdirSync(source, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => entry.name)
    expect(folders.filter((name) => !(name in allowed))).toEqual([])
  })

  test('imports point down, go through an index, and name only the chosen packages', () => {
    expect(imports.length).toBeGreaterThan(20)
    expect(imports.map(complaint).filter((text) => text !== undefined)).toEqual([])
  })

  test('a planted violation is seen', () => {
    const planted = (file: string, target: string, typesOnly = false): string | undefined =>
      complaint({ file: join(source, file), target, typesOnly })
    expect(planted('util/x.ts', '../toolstack/index.ts')).toBeDefined()
    expect(planted('hypervisor/x.ts', '../machine/index.ts')).toBeDefined()
    expect(planted('hypervisor/x.ts', '../machine/index.ts', true)).toBeUndefined()
    expect(planted('guest/x.ts', '../hypervisor/index.ts', true)).toBeDefined()
    expect(planted('toolstack/x.ts', 'node:fs')).toBeDefined()
    expect(planted('toolstack/x.ts', '../abi/xen.ts')).toBeDefined()
    // Its classes weigh three times what its functions do.
    expect(planted('toolstack/x.ts', 'zod')).toBeDefined()
  })

  test('no files import each other in a circle, not even types', () => {
    expect(circles(graphOf(imports, (file) => file))).toEqual([])
  })

  test('no rooms import each other in a circle: a folder without folders in it, or a file beside folders', () => {
    expect(circles(graphOf(imports, roomOf))).toEqual([])
  })

  test('no folders beside each other import each other, with all that is below them', () => {
    expect(besides.flatMap((parent) => circles(graphOf(imports, folderIn(parent))))).toEqual([])
  })

  test('a planted circle is seen, of files, of rooms and of folders', () => {
    const planted = (...arrows: readonly (readonly [string, string])[]): Import[] => arrows.map(([from, to]) =>
      ({ file: join(source, from), target: relative(dirname(join(source, from)), join(source, to)).replace(/^(?!\.)/, './'), typesOnly: true }))
    const [store, session, tree] = ['xenstore/store/session.ts', 'xenstore/store/store.ts', 'xenstore/tree/node.ts'] as const
    expect(circles(graphOf([...imports, ...planted([store, session], [session, store])], (file) => file)).flat()).toEqual(expect.arrayContaining([store, session]))
    expect(circles(graphOf([...imports, ...planted([tree, store])], roomOf)).flat()).toContain('xenstore/tree')
    const upwards = planted(['hypervisor/control/typed/refusals.ts', 'hypervisor/hypercalls/dispatch.ts'])
    expect(circles(graphOf([...imports, ...upwards], roomOf))).toEqual([])
    expect(circles(graphOf([...imports, ...upwards], folderIn('hypervisor'))).flat()).toEqual(expect.arrayContaining(['control', 'hypercalls']))
  })

  test('no file of src is longer than 500 lines', () => {
    const long = files.filter((file) => readFileSync(file, 'utf8').split('\n').length > 501)
    expect(long.map((file) => relative(root, file))).toEqual([])
  })

  test('time and chance come from outside everywhere below the toolstack', () => {
    const ambient = /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|\bperformance\.now\(|\bset(Timeout|Interval|Immediate)\(/
    const guilty = files.filter((file) => !['toolstack', 'testing', 'node', 'browser', 'xapi', 'debug', 'fleet'].includes(layerOf(file) ?? '')
      && readFileSync(file, 'utf8').split('\n').some((line) => !/^\s*(\*|\/\/|\/\*)/.test(line) && ambient.test(line)))
    expect(guilty.map((file) => relative(root, file))).toEqual([])
  })

  test('only the kinds of guests know which kind a domain is', () => {
    // What a description file and a saved configuration say is another thing: the type that was asked for.
    const isTold = /^(toolstack\/(config\/|save\/config-json\.ts)|node\/xl\/long-list\.ts)/
    const asks = /\.pv\b|\bkind\b[^=!&|?]* (===|!==) '(pv|pv32|pvh|typescript)'/
    const guilty = files.filter((file) => {
      const place = relative(source, file)
      return !place.startsWith('hypervisor/guests/') && !isTold.test(place) && asks.test(readFileSync(file, 'utf8'))
    })
    expect(guilty.map((file) => relative(root, file))).toEqual([])
  })

  test('rooms that others are made beside or from know none of them', () => {
    const guests = 'hypervisor/guests'
    const kinds = ['pv', 'pv32', 'pvh', 'typescript'].map((name) => `${guests}/${name}`)
    const shared = ['paravirtual', 'direct-paging', 'processors'].map((name) => `${guests}/${name}`)
    const core = ['control', 'hypercalls', 'execution', 'domains', 'events', 'grants', 'frames', 'time', 'scheduler', 'memory', 'local-apic', 'console']
    const apart: readonly (readonly [room: string, others: readonly string[]])[] = [
      ['machine/interface', ['machine/cpu', 'machine/memory', 'machine/softfloat']],
      ...kinds.map((kind) => [kind, kinds.filter((other) => other !== kind)] as const), ...shared.map((room) => [room, kinds] as const),
      ...core.map((room) => [`hypervisor/${room}`, [guests]] as const),
    ]
    const guilty = imports.filter(({ file, target }) => apart.some(([room, others]) => relative(source, file).startsWith(`${room}/`)
      && others.some((other) => relative(source, resolve(dirname(file), target)).startsWith(`${other}/`))))
    expect(guilty.map(where)).toEqual([])
    expect(apart.flatMap(([room, others]) => [room, ...others]).filter((room) => ![...folders].some((folder) => folder === room || folder.startsWith(`${room}/`)))).toEqual([])
  })

  test('nothing is public for friends alone', () => {
    const guilty = files.filter((file) => /@internal\b/.test(readFileSync(file, 'utf8')))
    expect(guilty.map((file) => relative(root, file))).toEqual([])
  })

  test('no layer exports everything of a file, and nothing has a default export', () => {
    const guilty = files.filter((file) => /^export \*|^export default/m.test(readFileSync(file, 'utf8')))
    expect(guilty.map((file) => relative(root, file))).toEqual([])
  })
})
