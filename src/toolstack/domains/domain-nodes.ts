/**
 * What XenStore says about a domain: the nodes that libxl writes when it creates a domain, in its order and with its
 * permissions.
 * Reference: docs/misc/xenstore-paths.pandoc; the order is that of a capture of Xen 4.17.
 */
import { fixedPermissions, type LocalOperations, type LocalStore } from '../../xenstore/index.ts'
import type { GuestType } from '../config/option-values.ts'

/** What the nodes depend on. */
export interface DomainFacts {
  /** As libxl calls it. */
  readonly type: GuestType
  readonly id: number
  readonly name: string
  readonly uuid: string
  /** KiB. */
  readonly memory: number
  readonly maxMemory: number
  readonly vcpus: number
  readonly maxVcpus: number
  readonly kernel: string
  readonly ramdisk: string | undefined
  readonly commandLine: string
  /** It serves devices of others. */
  readonly driverDomain: boolean
  /** Seconds since 1970. */
  readonly startTime: number
}

/** Where console and XenStore of a domain are, once it is built. */
export interface RingFacts {
  /** Frames as the domain's own kernel numbers them: a machine's, or those of its own memory. */
  readonly storeFrame: number
  readonly storePort: number
  readonly consoleFrame: number
  readonly consolePort: number
  /** The console's name, where the toolstack gives it; otherwise whoever serves the console does. */
  readonly tty?: string
}

/** Directories of a domain. */
export const domainPath = (id: number): string => `/local/domain/${id}`
const vmPath = (uuid: string): string => `/vm/${uuid}`
const libxlPath = (id: number): string => `/libxl/${id}`
const consoleBackendPath = (id: number): string => `/local/domain/0/backend/console/${id}`

/** A node: path below its directory, value, and whose it is. */
type NodeRow = readonly [path: string, value: string, permissions?: 'tools' | 'guest']

/** Writes nodes below `base`, each with its permissions: a new node has those of the node above it, which are the toolstack's. */
function writeRows(store: LocalOperations, base: string, id: number, rows: readonly NodeRow[]): void {
  // The toolstack's nodes may be read by the guest; the guest's own are nobody else's.
  const permissions = { tools: fixedPermissions(['n0', `r${id}`]), guest: fixedPermissions([`n${id}`]) }
  for (const [path, value, whose = 'tools'] of rows) {
    const full = path === '' ? base : `${base}/${path}`
    store.write(full, value)
    if (path === '' || whose === 'guest') store.setPermissions(full, permissions[whose])
  }
}

const cpuRows = (facts: DomainFacts): NodeRow[] => Array.from({ length: facts.maxVcpus }, (_, vcpu): NodeRow[] => [
  [`cpu/${vcpu}`, ''], [`cpu/${vcpu}/availability`, vcpu < facts.vcpus ? 'online' : 'offline'],
]).flat()

/** Nodes below /local/domain/ID before the domain is built. */
const domainRows = (facts: DomainFacts): NodeRow[] => [
  ['', ''],
  ['vm', vmPath(facts.uuid)],
  ['name', facts.name],
  ['cpu', ''],
  ...cpuRows(facts),
  ['memory', ''],
  ['memory/static-max', String(facts.maxMemory)],
  ['memory/target', String(facts.memory)],
  ['memory/videoram', '0'],
  ['device', ''],
  ['device/suspend', ''],
  ['device/suspend/event-channel', '', 'guest'],
  ['control', ''],
  ['control/shutdown', '', 'guest'],
  ['control/feature-poweroff', '', 'guest'],
  ['control/feature-reboot', '', 'guest'],
  ['control/feature-suspend', '', 'guest'],
  ['control/sysrq', '', 'guest'],
  ['control/platform-feature-multiprocessor-suspend', '1'],
  ['control/platform-feature-xs_reset_watches', '1'],
  ['data', '', 'guest'],
  ['drivers', '', 'guest'],
  ['feature', '', 'guest'],
  ['attr', '', 'guest'],
  ['error', '', 'guest'],
  // For the tools in it.
  ...(facts.driverDomain ? [['libxl', '', 'guest'], ['device-model', '', 'guest']] as const : []),
  ['domid', String(facts.id)],
]

/** What a PV guest was started with; libxl writes it for no other. */
const imageRows = (facts: DomainFacts): NodeRow[] => [
  ['image', ''], ['image/ostype', 'linux'], ['image/kernel', facts.kernel],
  ...(facts.ramdisk === undefined ? [] : [['image/ramdisk', facts.ramdisk] as const]),
  ['image/cmdline', facts.commandLine],
]

const vmRows = (facts: DomainFacts): NodeRow[] => [
  ['', ''], ['name', facts.name], ['uuid', facts.uuid],
  ...(facts.type === 'pv' ? imageRows(facts) : []),
  ['start_time', facts.startTime.toFixed(2)],
]

/** Nodes that describe the console device, alike at the back-end and in libxl's own directory. */
const consoleDeviceRows = (id: number): NodeRow[] => [
  ['frontend', `${domainPath(id)}/console`],
  ['frontend-id', String(id)],
  ['online', '1'],
  ['state', '1'],
  ['protocol', 'vt100'],
]

/** Nodes of one host that exist before any guest. */
export function writeHostNodes(store: LocalStore): void {
  for (const [path, value] of [
    ['/local', ''],
    ['/local/domain', ''],
    ['/local/domain/0', ''],
    ['/local/domain/0/domid', '0'],
    ['/local/domain/0/name', 'Domain-0'],
    ['/local/domain/0/backend', ''],
    ['/local/pool', ''],
    ['/local/pool/0', ''],
    ['/local/pool/0/name', 'Pool-0'],
    ['/vm', ''],
    ['/libxl', ''],
  ] as const)
    store.write(path, value)
}

/** Writes what is known before the domain is built. */
export function writeDomainNodes(store: LocalOperations, facts: DomainFacts): void {
  const { id } = facts
  writeRows(store, domainPath(id), id, domainRows(facts))
  writeRows(store, vmPath(facts.uuid), id, vmRows(facts))
  store.write(libxlPath(id), '')
  for (const [path, value] of [
    ['device', ''],
    ['type', facts.type],
    ['dm-version', 'qemu_xen'],
  ] as const)
    store.write(`${libxlPath(id)}/${path}`, value)
}

/** Writes where console and XenStore are: from now on the console's back-end may connect. */
export function writeRingNodes(store: LocalOperations, id: number, rings: RingFacts): void {
  const base = domainPath(id)
  writeRows(store, base, id, [
    ['store', ''],
    ['store/port', String(rings.storePort)],
    ['store/ring-ref', String(rings.storeFrame)],
  ])
  const backend = `${consoleBackendPath(id)}/0`
  for (const parent of ['/local/domain/0/backend/console', consoleBackendPath(id)])
    if (!store.exists(parent)) store.write(parent, '')
  writeRows(store, backend, id, [['', ''], ...consoleDeviceRows(id)])
  for (const parent of ['console', 'console/0']) store.write(`${libxlPath(id)}/device/${parent}`, '')
  const [frontend, ...rest] = consoleDeviceRows(id)
  for (const [path, value] of [frontend!, ['backend', backend] as const, ...rest])
    store.write(`${libxlPath(id)}/device/console/0/${path}`, value)
  writeRows(store, base, id, [
    ['console', ''], ['console/backend', backend], ['console/backend-id', '0'], ['console/limit', '1048576'],
    ['console/type', 'xenconsoled'], ['console/output', 'pty'], ['console/tty', rings.tty ?? ''],
    ['console/port', String(rings.consolePort)], ['console/ring-ref', String(rings.consoleFrame)],
  ])
  store.setPermissions(`${base}/console/backend-id`, [`n${id}`, 'r0'])
}

const ringRows = ({ storePort, storeFrame, consolePort, consoleFrame }: RingFacts): readonly NodeRow[] => [
  ['store/port', String(storePort)], ['store/ring-ref', String(storeFrame)],
  ['console/port', String(consolePort)], ['console/ring-ref', String(consoleFrame)],
]

/** Says that a domain's console has no ring: its back-end lets it go, with what is left in it. */
export function forgetConsoleRing(store: LocalStore, id: number): void {
  store.transaction((transaction) => {
    for (const name of ['port', 'ring-ref']) transaction.tryRm(`${domainPath(id)}/console/${name}`)
  })
}

/** Writes where the rings of a domain are that has been reset. */
export function renewRingNodes(store: LocalStore, id: number, rings: RingFacts): void {
  store.transaction((transaction) => writeRows(transaction, domainPath(id), id, ringRows(rings)))
}

/** Copies nodes below one path to another, with their permissions. */
function copyNodes(store: LocalOperations, from: string, to: string): void {
  store.write(to, store.readBytes(from))
  store.setPermissions(to, store.getPermissions(from))
  for (const name of store.list(from)) copyNodes(store, `${from}/${name}`, `${to}/${name}`)
}

/** Gives what is known of a domain by its UUID another one. */
export function moveVmNodes(store: LocalStore, id: number, uuid: { readonly from: string; readonly to: string }): void {
  const [from, to] = [vmPath(uuid.from), vmPath(uuid.to)]
  store.transaction((transaction) => {
    copyNodes(transaction, from, to)
    transaction.rm(from)
    transaction.write(`${to}/uuid`, uuid.to)
    transaction.write(`${domainPath(id)}/vm`, to)
  })
}

/** Removes everything about a domain. */
export function removeDomainNodes(store: LocalStore, id: number, uuid: string): void {
  store.transaction((transaction) => {
    for (const path of [consoleBackendPath(id), domainPath(id), vmPath(uuid), libxlPath(id)]) transaction.tryRm(path)
    const consoles = '/local/domain/0/backend/console'
    if (transaction.exists(consoles) && transaction.countChildren(consoles) === 0) transaction.rm(consoles)
  })
}
