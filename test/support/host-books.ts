/**
 * All that a host knows, as plain data, and in what two such books differ apart from what time and counting alone change. What an
 * operation has left behind shows as the path of a leaf.
 */
import { insidesOf } from '../../src/toolstack/host/host.ts'
import { hostTree, lowerPartsOnImage, upperParts } from '../../src/toolstack/host/host-state.ts'
import type { Host } from '../../src/toolstack/index.ts'

/** What goes on by itself, or is counted and never counted back, and why. */
const COUNTED: readonly (readonly [path: RegExp, why: string])[] = [
  [/^hypervisor\.(clock|cpus|timers|scheduler|tlb)\./, 'time has passed, and vCPUs have run'],
  [/^hypervisor\.domains\.domain-\d+\.vcpus\.\d+\.(blocked|lastRun|queued|runentered|runstate|runtimes|timeWritten|timers)\b/, 'vCPUs have run'],
  [/^hypervisor\.guests\./, 'registers of vCPUs that have run'],
  [/^hypervisor\.lifecycle\.nextId$/, 'numbers of domains go up, as with Xen'],
  [/^hypervisor\.events\.domains\.0\.lowestFree$/, 'where the search for a free port begins'],
  [/^hypervisor\.grants\.domains\.\d+\.maptrack\.free\b/, 'the order of free handles'],
  [/^(seeds|toolstack\.random)\./, 'names and addresses were drawn'],
  [/^(kernel\.(store\.(lastRequest|lastToken)|loop\.source|timers\b.*|events\b.*hint)|services\..*timer\b.*)$/, 'dom0 has asked, and been woken'],
  [/^xenstore\.connections\.(eventDeadline$|connections\.\d+\.session\.(nextTransaction|transactions)\b)/, 'transactions were numbered'],
  [/^xenstore\.store\.(generation|lastSession|nodes\.\d+\.generation)$/, 'writes were numbered'],
  [/^devices\.back-ends\.vbd\.numbers$/, 'disks were numbered'],
]

/** A host's books: hypervisor, dom0 and its services, XenStore, devices, toolstack. Not memory, and not what programs say. */
export function booksOf(host: Host): unknown {
  const { parts, guests } = insidesOf(host)
  const upper = upperParts(parts, () => guests).filter(({ name }) => name !== 'programs')
  const { freeFrames } = parts.control.hostInfo()
  return structuredClone({ freeFrames, ...hostTree(lowerPartsOnImage(parts, { trusted: true }), upper).save() })
}

const bytesOf = (view: ArrayBufferView): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength)

function leaves(one: unknown, other: unknown, path: readonly string[], found: string[]): void {
  if (Object.is(one, other)) return
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return void found.push(path.join('.'))
  if (ArrayBuffer.isView(one) && ArrayBuffer.isView(other)) {
    const [a, b] = [bytesOf(one), bytesOf(other)]
    if (a.length !== b.length || a.some((byte, at) => byte !== b[at])) found.push(path.join('.'))
    return
  }
  const [a, b] = [new Map<string, unknown>(Object.entries(one)), new Map<string, unknown>(Object.entries(other))]
  for (const key of new Set([...a.keys(), ...b.keys()])) {
    const isWrapping = key === 'parts' || key === 'state'
    leaves(a.get(key), b.get(key), isWrapping ? path : [...path, key], found)
  }
}

/** Paths at which two books differ, apart from what time and counting change, and what `mayChange` allows. */
export function changesOf(before: unknown, after: unknown, mayChange: readonly RegExp[] = []): readonly string[] {
  const found: string[] = []
  leaves(before, after, [], found)
  return found.filter((path) => ![...COUNTED.map(([pattern]) => pattern), ...mayChange].some((pattern) => pattern.test(path)))
}
