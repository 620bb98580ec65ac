/** What the toolstack writes for a disk and a network interface, node by node as xl does (see the captures of real Xen). */
import type { LocalStore } from '../../src/xenstore/index.ts'

/** Writes nodes and permissions as the toolstack, and removes them. */
export interface Seeder {
  seed(nodes: Readonly<Record<string, string>>, permissions?: Readonly<Record<string, readonly string[]>>): void
  drop(path: string): void
}

/** Seeds a store by its local handle; a directory that `permissions` names gets them before what is below it. */
export const seeder = (toolstack: LocalStore): Seeder => ({
  seed: (nodes, permissions = {}) => toolstack.transaction((transaction) => {
    for (const [path, list] of Object.entries(permissions)) {
      transaction.mkdir(path)
      transaction.setPermissions(path, list)
    }
    for (const [path, value] of Object.entries(nodes)) transaction.write(path, value)
  }),
  drop: (path) => toolstack.tryRm(path),
})

/** Whose device it is. */
export interface DeviceOwners {
  readonly front?: number
  readonly back?: number
}

/** Kinds of devices that tests seed. */
export type SeededKind = 'vbd' | 'vif' | 'console' | '9pfs' | 'vfb' | 'vkbd'

/** Where the two halves of a device stand. */
export function devicePaths(kind: SeededKind, id: string, { front = 1, back = 0 }: DeviceOwners = {}): { readonly front: string; readonly back: string } {
  return { front: `/local/domain/${front}/device/${kind}/${id}`, back: `/local/domain/${back}/backend/${kind}/${front}/${id}` }
}

const permissions = (paths: { readonly front: string; readonly back: string }, { front = 1, back = 0 }: DeviceOwners) =>
  ({ [paths.front]: [`n${front}`, `r${back}`], [paths.back]: [`n${back}`, `r${front}`] })

/** How a disk is described. */
export interface DiskSeed extends DeviceOwners {
  readonly device?: string
  readonly mode?: string
  readonly params?: string
}

/** A disk. */
export function seedDisk(store: Seeder, options: DiskSeed = {}): void {
  const id = options.device ?? '51712'
  const paths = devicePaths('vbd', id, options)
  const { front, back } = paths
  store.seed({
    [`${front}/backend`]: back, [`${front}/backend-id`]: String(options.back ?? 0), [`${front}/state`]: '1',
    [`${front}/virtual-device`]: id, [`${front}/device-type`]: 'disk', [`${front}/trusted`]: '1', [`${front}/protocol`]: 'x86_64-abi',
    [`${back}/frontend`]: front, [`${back}/params`]: options.params ?? '/g/disk.img', [`${back}/script`]: '/etc/xen/scripts/block',
    [`${back}/frontend-id`]: String(options.front ?? 1), [`${back}/online`]: '1', [`${back}/removable`]: '0', [`${back}/bootable`]: '1',
    [`${back}/state`]: '1', [`${back}/dev`]: 'xvda', [`${back}/type`]: 'phy', [`${back}/mode`]: options.mode ?? 'w',
    [`${back}/device-type`]: 'disk', [`${back}/discard-enable`]: '1', [`${back}/specification`]: 'xen',
  }, permissions(paths, options))
}

/** A network interface. */
export function seedNic(store: Seeder, front: number, mac: string, back = 0): void {
  const owners = { front, back }
  const paths = devicePaths('vif', '0', owners)
  store.seed({
    [`${paths.front}/backend`]: paths.back, [`${paths.front}/backend-id`]: String(back), [`${paths.front}/state`]: '1',
    [`${paths.front}/handle`]: '0', [`${paths.front}/mac`]: mac, [`${paths.front}/trusted`]: '1', [`${paths.front}/mtu`]: '1500',
    [`${paths.back}/frontend`]: paths.front, [`${paths.back}/frontend-id`]: String(front), [`${paths.back}/online`]: '1',
    [`${paths.back}/state`]: '1', [`${paths.back}/script`]: '/etc/xen/scripts/vif-bridge', [`${paths.back}/mac`]: mac,
    [`${paths.back}/bridge`]: 'xenbr0', [`${paths.back}/handle`]: '0', [`${paths.back}/type`]: 'vif', [`${paths.back}/hotplug-status`]: '',
  }, permissions(paths, owners))
}

/** A folder. */
export function seedFolder(store: Seeder, { device = '0', tag = 'shared', ...owners }: DeviceOwners & { readonly device?: string; readonly tag?: string } = {}): void {
  const paths = devicePaths('9pfs', device, owners)
  const { front, back } = paths
  store.seed({
    [`${front}/backend`]: back, [`${front}/backend-id`]: String(owners.back ?? 0), [`${front}/state`]: '1', [`${front}/tag`]: tag,
    [`${back}/frontend`]: front, [`${back}/frontend-id`]: String(owners.front ?? 1), [`${back}/online`]: '1', [`${back}/state`]: '1',
    [`${back}/path`]: '/srv/shared', [`${back}/security_model`]: 'none',
  }, permissions(paths, owners))
}

/** A channel. */
export function seedChannel(store: Seeder, { device = '1', name = 'org.example', ...owners }: DeviceOwners & { readonly device?: string; readonly name?: string } = {}): void {
  const paths = devicePaths('console', device, owners)
  const { front, back } = paths
  store.seed({
    [`${front}/backend`]: back, [`${front}/backend-id`]: String(owners.back ?? 0), [`${front}/state`]: '1', [`${front}/name`]: name,
    [`${back}/frontend`]: front, [`${back}/frontend-id`]: String(owners.front ?? 1), [`${back}/online`]: '1', [`${back}/state`]: '1', [`${back}/name`]: name,
  }, permissions(paths, owners))
}

/** A framebuffer and its keyboard. */
export function seedScreen(store: Seeder, { front = 1, back = 0 }: DeviceOwners = {}): void {
  for (const kind of ['vfb', 'vkbd'] as const) {
    const paths = devicePaths(kind, '0', { front, back })
    store.seed({
      [`${paths.front}/backend`]: paths.back, [`${paths.front}/backend-id`]: String(back), [`${paths.front}/state`]: '1',
      [`${paths.back}/frontend`]: paths.front, [`${paths.back}/frontend-id`]: String(front), [`${paths.back}/online`]: '1', [`${paths.back}/state`]: '1',
      [`${paths.back}/feature-abs-pointer`]: '1',
    }, permissions(paths, { front, back }))
  }
}

/** What the toolstack does to take a device away while both run. */
export function detach(store: Seeder, kind: SeededKind, front: number, id: string): void {
  const { back } = devicePaths(kind, id, { front })
  store.seed({ [`${back}/online`]: '0', [`${back}/state`]: '5' })
}

/** What the toolstack removes once both halves are closed. */
export function removeDevice(store: Seeder, kind: SeededKind, front: number, id: string): void {
  const paths = devicePaths(kind, id, { front })
  store.drop(paths.front)
  store.drop(paths.back)
}
