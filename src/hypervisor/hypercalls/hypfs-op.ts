/**
 * hypfs_op: the hypervisor's own file system, of facts about how it was built, its pools of CPUs and its limits. Nothing in it can be
 * written.
 * Reference: public/hypfs.h; xen/common/hypfs.c, do_hypfs_op; docs/misc/hypfs-paths.pandoc.
 */
import { ERRNO, HYPFS_MAX_PATHLEN, HYPFS_OP, HYPFS_TYPE, HYPFS_VERSION, XenHypfsDirentry, XenHypfsDirlistentry } from '../../abi/index.ts'
import type { HypercallRow } from '../domains/hypercall.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import { BUILD, XEN_VERSION } from '../identity.ts'
import { Scratch } from '../memory/guest-access.ts'
import { type Operation, type Operations, FULL, byFirstArgument, listed, partial } from '../domains/hypercall-rows.ts'

/** What the file system tells of. */
export interface HypfsParts {
  readonly domains: DomainRegistry
  readonly scheduler: { all(): readonly { readonly id: number }[] }
}

/** A directory by its entries' names, a text, or a number. */
type Node = { readonly [name: string]: Node } | string | number

/** Where an entry's name begins in a directory's contents, and what entries are aligned to. */
const [NAME, ALIGNMENT] = [14, 4] as const

const treeOf = ({ scheduler }: HypfsParts): Node => ({
  buildinfo: {
    changeset: BUILD.changeset,
    compileinfo: { compile_by: BUILD.compileBy, compile_date: BUILD.compileDate, compile_domain: BUILD.compileDomain, compiler: BUILD.compiler },
    version: { extra: XEN_VERSION.extra, major: XEN_VERSION.major, minor: XEN_VERSION.minor },
  },
  cpupool: Object.fromEntries(scheduler.all().map(({ id }) => [String(id), { 'sched-gran': 'cpu' }])),
  params: { gnttab_max_frames: '64', gnttab_max_maptrack_frames: '1024' },
})

const typeOf = (node: Node): number => (typeof node === 'string' ? HYPFS_TYPE.STRING : typeof node === 'number' ? HYPFS_TYPE.UINT : HYPFS_TYPE.DIR)

/** What reading an entry gives, behind its description. */
function contentsOf(node: Node): Uint8Array {
  if (typeof node === 'number') return new Uint8Array(Uint32Array.of(node).buffer)
  if (typeof node === 'string') return new TextEncoder().encode(`${node}\0`)
  const entries = Object.entries(node)
  const sizeOf = (name: string): number => Math.ceil((NAME + name.length + 1) / ALIGNMENT) * ALIGNMENT
  const bytes = new Scratch(entries.reduce((sum, [name]) => sum + sizeOf(name), 0))
  let at = 0
  entries.forEach(([name, entry], i) => {
    describe(bytes.view, at, entry)
    XenHypfsDirlistentry.offNext.set(bytes.view, at, i + 1 === entries.length ? 0 : sizeOf(name))
    bytes.bytes.set(new TextEncoder().encode(name), at + NAME)
    at += sizeOf(name)
  })
  return bytes.bytes
}

function describe(view: DataView, at: number, node: Node): void {
  XenHypfsDirentry.encode(view, at, { type: typeOf(node), encoding: 0, pad: 0, contentLen: contentsOf(node).length, maxWriteLen: 0 })
}

/** The entry that a path names: -EINVAL, -EFAULT, -ENOENT. */
function find(parts: HypfsParts, caller: Vcpu, address: number, length: number): Node | { readonly error: number } {
  if (length < 1 || length > HYPFS_MAX_PATHLEN) return { error: -ERRNO.EINVAL }
  const bytes = new Uint8Array(length)
  if (!caller.access.read(address, bytes)) return { error: -ERRNO.EFAULT }
  if (bytes.indexOf(0) !== length - 1 || bytes[0] !== 0x2f) return { error: -ERRNO.EINVAL }
  const names = new TextDecoder('latin1').decode(bytes.subarray(1, -1)).split('/').filter((name) => name !== '')
  let node: Node = treeOf(parts)
  for (const name of names) {
    const next: Node | undefined = typeof node === 'object' && Object.hasOwn(node, name) ? node[name] : undefined
    if (next === undefined) return { error: -ERRNO.ENOENT }
    node = next
  }
  return node
}

const isError = (found: Node | { readonly error: number }): found is { readonly error: number } => typeof found === 'object' && typeof (found as { error?: unknown }).error === 'number'

/** Makes the row of hypfs_op(command, path, its length, buffer, its size). */
export function hypfsOp(parts: HypfsParts): HypercallRow {
  const privileged = (name: keyof typeof HYPFS_OP, run: Operation['run']): Operation['run'] => (caller, args) =>
    (parts.domains.mayDo(caller.domid, `hypfs_op.${name}`) ? run(caller, args) : -ERRNO.EPERM)
  const head = new Scratch(XenHypfsDirentry.size)
  const rows: Operations<typeof HYPFS_OP, Operation> = {
    get_version: { support: FULL, run: privileged('get_version', (_caller, args) => ([1, 2, 3, 4].every((i) => args.number(i) === 0) ? HYPFS_VERSION : -ERRNO.EINVAL)) },
    read: {
      support: partial('parameters that mean nothing here are not there'),
      run: privileged('read', (caller, args) => {
        const node = find(parts, caller, args.address(1), args.number(2))
        if (isError(node)) return node.error
        const [address, room] = [args.address(3), args.number(4)]
        if (room < head.bytes.length) return -ERRNO.EINVAL
        describe(head.view, 0, node)
        if (!caller.access.write(address, head.bytes)) return -ERRNO.EFAULT
        const contents = contentsOf(node)
        if (room < head.bytes.length + contents.length) return -ERRNO.ENOBUFS
        return caller.access.write(address + head.bytes.length, contents) ? 0 : -ERRNO.EFAULT
      }),
    },
    write_contents: {
      support: partial('EACCES: nothing can be written'),
      run: privileged('write_contents', (caller, args) => {
        const node = find(parts, caller, args.address(1), args.number(2))
        return isError(node) ? node.error : -ERRNO.EACCES
      }),
    },
  }
  const known = byFirstArgument(HYPFS_OP, rows)
  const numbers = new Set<number>(Object.values(HYPFS_OP))
  // Whoever may nothing of it is told so before it is told what there is.
  const handler: Operation['run'] = (caller, args) =>
    (numbers.has(args.number(0)) || parts.domains.mayDo(caller.domid, 'hypfs_op.get_version') ? known(caller, args) : -ERRNO.EPERM)
  return { name: 'hypfs_op', handler, source: 'public/hypfs.h; do_hypfs_op', operations: [listed('XEN_HYPFS_OP_', HYPFS_OP, rows)] }
}
