/**
 * The nodes of a split device as libxl writes them: the back-end's directory, the front-end's, and libxl's own copy of the
 * back-end's, all in one transaction, in its order and with its permissions.
 * Reference: docs/misc/xenstore-paths.pandoc; the order is that of captures of Xen 4.17 (xl create, xl block-attach).
 */
import { XENBUS_STATE, type XenbusStateName } from '../../abi/index.ts'
import type { DomId } from '../../util/index.ts'
import type { LocalOperations, LocalStore } from '../../xenstore/index.ts'
import type { DeviceRow, DeviceRows } from '../device-kinds/described-device.ts'
import { domainPath } from '../domains/domain-nodes.ts'

/** Kinds of split devices by name; a host may have been given further ones. */
export type DeviceKind = 'vbd' | 'vif' | 'console' | (string & {})

/** Which device of which domain, and who serves it. */
export interface DevicePlace {
  readonly kind: DeviceKind
  readonly domid: DomId
  readonly backend: DomId
  /** Number of the device in its domain: 51712 for xvda, 0 for the first NIC. */
  readonly id: number
}

/** Directories of a device. */
export interface DevicePaths {
  readonly frontend: string
  readonly backend: string
  readonly libxl: string
}

/** Where a device's nodes are. */
export const devicePaths = ({ kind, domid, backend, id }: DevicePlace): DevicePaths => ({
  frontend: `${domainPath(domid)}/device/${kind}/${id}`,
  backend: `${domainPath(backend)}/backend/${kind}/${domid}/${id}`,
  libxl: `/libxl/${domid}/device/${kind}/${id}`,
})

const INITIALISING = String(XENBUS_STATE.Initialising)

/** Nodes that the back-end's directory and libxl's copy share, after `frontend`. */
const commonRows = (place: DevicePlace, rows: DeviceRows): DeviceRow[] => [
  ...rows.backendHead,
  ['frontend-id', String(place.domid)],
  ['online', '1'],
  ...rows.backendMiddle,
  ['state', INITIALISING],
  ...rows.backendTail,
]

function makeDirectory(store: LocalOperations, path: string, permissions: readonly string[]): void {
  if (store.exists(path)) return
  store.mkdir(path)
  store.setPermissions(path, permissions)
}

function writeRows(store: LocalOperations, base: string, permissions: readonly string[], rows: readonly DeviceRow[]): void {
  makeDirectory(store, base, permissions)
  writeNodes(store, base, permissions, rows)
}

function writeNodes(store: LocalOperations, base: string, permissions: readonly string[], rows: readonly DeviceRow[]): void {
  for (const [name, value] of rows) {
    store.write(`${base}/${name}`, value)
    store.setPermissions(`${base}/${name}`, permissions)
  }
}

function writeFrontendNodes(store: LocalOperations, place: DevicePlace, rows: DeviceRows): void {
  const { domid, backend, kind } = place
  const paths = devicePaths(place)
  makeDirectory(store, `${domainPath(domid)}/device/${kind}`, ['n0', `r${domid}`])
  writeRows(store, paths.frontend, [`n${domid}`, `r${backend}`], [
    ['backend', paths.backend], ['backend-id', String(backend)], ['state', INITIALISING], ...rows.frontend,
  ])
  if (rows.frontendReadOnly !== undefined) writeNodes(store, paths.frontend, [`n${backend}`, `r${domid}`], rows.frontendReadOnly)
}

/** Says in a guest's place that its half of a device has closed: the guest has been reset, and knows nothing of it. */
export const closeFrontend = (store: LocalStore, place: DevicePlace): void =>
  store.write(`${devicePaths(place).frontend}/state`, String(XENBUS_STATE.Closed))

/** Writes the front-end's nodes as they were at first: a guest may begin its half of the handshake once more. */
export function renewFrontend(store: LocalStore, place: DevicePlace, rows: DeviceRows): void {
  const { frontend } = devicePaths(place)
  store.transaction((transaction) => {
    for (const name of transaction.list(frontend)) if (name !== 'state') transaction.rm(`${frontend}/${name}`)
    writeFrontendNodes(transaction, place, rows)
  })
}

/** Writes a device's nodes: from now on both halves may begin their handshake. */
export function writeDeviceNodes(store: LocalStore, place: DevicePlace, rows: DeviceRows): void {
  const { domid, backend, kind } = place
  const paths = devicePaths(place)
  store.transaction((transaction) => {
    makeDirectory(transaction, `/libxl/${domid}/device/${kind}`, ['n0'])
    const common = commonRows(place, rows)
    writeRows(transaction, paths.libxl, ['n0'], [['frontend', paths.frontend], ['backend', paths.backend], ...common])
    writeFrontendNodes(transaction, place, rows)
    for (const parent of [`${domainPath(backend)}/backend`, `${domainPath(backend)}/backend/${kind}`]) {
      makeDirectory(transaction, parent, [`n${backend}`])
    }
    makeDirectory(transaction, `${domainPath(backend)}/backend/${kind}/${domid}`, [`n${backend}`])
    writeRows(transaction, paths.backend, [`n${backend}`, `r${domid}`], [['frontend', paths.frontend], ...common])
  })
}

/** Tells a back-end in a driver domain what hotplug scripts there would have. */
export function writeHotplugNodes(store: LocalStore, place: DevicePlace, rows: readonly DeviceRow[]): void {
  const { backend } = devicePaths(place)
  store.transaction((transaction) => {
    for (const [name, value] of rows) {
      transaction.write(`${backend}/${name}`, value)
      transaction.setPermissions(`${backend}/${name}`, [`n${place.backend}`, `r${place.domid}`])
    }
  })
}

/** Asks the back-end to let a device go. */
export function requestClose(store: LocalStore, place: DevicePlace): void {
  const { backend } = devicePaths(place)
  if (!store.exists(`${backend}/state`)) return
  store.transaction((transaction) => {
    transaction.write(`${backend}/online`, '0')
    transaction.write(`${backend}/state`, String(XENBUS_STATE.Closing))
  })
}

/** Takes the request back: the front-end has not obeyed, and the device stays as it was. */
export function withdrawClose(store: LocalStore, place: DevicePlace, state: number | undefined): void {
  const { backend } = devicePaths(place)
  store.transaction((transaction) => {
    if (transaction.tryRead(`${backend}/state`) !== String(XENBUS_STATE.Closing)) return
    transaction.write(`${backend}/online`, '1')
    if (state !== undefined) transaction.write(`${backend}/state`, String(state))
  })
}

/** Removes a node, and the directories above it up to `root`, which stays, that are empty without it. */
function cleanUp(store: LocalOperations, path: string, root: string): void {
  store.tryRm(path)
  for (let parent = parentOf(path); parent !== root && parent.startsWith(`${root}/`); parent = parentOf(parent)) {
    if (!store.exists(parent)) continue
    if (store.list(parent).length > 0) return
    store.rm(parent)
  }
}

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/'))

/** Removes a device's nodes, its back-end's complaints, and directories that are empty without them, as libxl does. */
export function removeDeviceNodes(store: LocalStore, place: DevicePlace): void {
  const { domid, backend, kind, id } = place
  const paths = devicePaths(place)
  const served = domainPath(backend)
  store.transaction((transaction) => {
    cleanUp(transaction, paths.frontend, `${domainPath(domid)}/device`)
    cleanUp(transaction, paths.backend, `${served}/backend`)
    cleanUp(transaction, paths.libxl, `/libxl/${domid}/device`)
    cleanUp(transaction, `${served}/error/backend/${kind}/${domid}/${id}`, backend === 0 ? served : `${served}/error`)
  })
}

const stateAt = (store: LocalStore, directory: string): number | undefined => {
  const text = store.tryRead(`${directory}/state`)
  return text === undefined ? undefined : Number(text)
}

/** State of the back-end; undefined when its nodes are gone. */
export const backendState = (store: LocalStore, place: DevicePlace): number | undefined =>
  stateAt(store, devicePaths(place).backend)

/** State of the front-end; undefined when its nodes are gone. */
export const frontendState = (store: LocalStore, place: DevicePlace): number | undefined =>
  stateAt(store, devicePaths(place).frontend)

const NAMES: ReadonlyMap<number, XenbusStateName> = /* @__PURE__ */ new Map(Object.entries(XENBUS_STATE).map(([name, number]) => [number, name as XenbusStateName]))

/** What XenStore says about a device that was attached: its directories, states, and where its rings are. */
export function placeFacts(store: LocalStore, place: DevicePlace) {
  const { frontend, backend } = devicePaths(place)
  const [front, back] = [frontendState(store, place), backendState(store, place)]
  // The guest writes these: what is no number is none.
  const number = (name: string): number | undefined => {
    const text = store.tryRead(`${frontend}/${name}`)
    return text !== undefined && /^[0-9]{1,10}$/.test(text) ? Number(text) : undefined
  }
  return {
    backendState: back, frontendState: front, backendStateName: nameOf(back), frontendStateName: nameOf(front),
    backendPath: backend, frontendPath: frontend, eventChannel: number('event-channel') ?? number('port'),
    rings: ['ring-ref', 'tx-ring-ref', 'rx-ring-ref'].flatMap((name) => number(name) ?? []),
  }
}

const nameOf = (state: number | undefined): XenbusStateName | undefined => (state === undefined ? undefined : NAMES.get(state) ?? 'Unknown')
