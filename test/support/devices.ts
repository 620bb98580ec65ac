/** What the toolstack writes for a disk and a network interface, node by node as xl does (see the captures of real Xen). */
import type { TestStore } from './test-store.ts'

/** A disk of domain 1 with its back-end in domain 0. */
export function seedDisk(store: TestStore, options: { readonly device?: string; readonly mode?: string; readonly params?: string } = {}): void {
  const id = options.device ?? '51712'
  const front = `/local/domain/1/device/vbd/${id}`
  const back = `/local/domain/0/backend/vbd/1/${id}`
  store.seed({
    [`${front}/backend`]: back, [`${front}/backend-id`]: '0', [`${front}/state`]: '1',
    [`${front}/virtual-device`]: id, [`${front}/device-type`]: 'disk', [`${front}/trusted`]: '1', [`${front}/protocol`]: 'x86_64-abi',
    [`${back}/frontend`]: front, [`${back}/params`]: options.params ?? '/g/disk.img', [`${back}/script`]: '/etc/xen/scripts/block',
    [`${back}/frontend-id`]: '1', [`${back}/online`]: '1', [`${back}/removable`]: '0', [`${back}/bootable`]: '1',
    [`${back}/state`]: '1', [`${back}/dev`]: 'xvda', [`${back}/type`]: 'phy', [`${back}/mode`]: options.mode ?? 'w',
    [`${back}/device-type`]: 'disk', [`${back}/discard-enable`]: '1', [`${back}/specification`]: 'xen',
  }, { [front]: ['n1', 'r0'], [back]: ['n0', 'r1'] })
}

/** A network interface of domain `domain` with its back-end in domain 0. */
export function seedNic(store: TestStore, domain: number, mac: string): void {
  const front = `/local/domain/${domain}/device/vif/0`
  const back = `/local/domain/0/backend/vif/${domain}/0`
  store.seed({
    [`${front}/backend`]: back, [`${front}/backend-id`]: '0', [`${front}/state`]: '1', [`${front}/handle`]: '0',
    [`${front}/mac`]: mac, [`${front}/trusted`]: '1', [`${front}/mtu`]: '1500',
    [`${back}/frontend`]: front, [`${back}/frontend-id`]: String(domain), [`${back}/online`]: '1', [`${back}/state`]: '1',
    [`${back}/script`]: '/etc/xen/scripts/vif-bridge', [`${back}/mac`]: mac, [`${back}/bridge`]: 'xenbr0',
    [`${back}/handle`]: '0', [`${back}/type`]: 'vif', [`${back}/hotplug-status`]: '',
  }, { [front]: [`n${domain}`, 'r0'], [back]: ['n0', `r${domain}`] })
}

/** What the toolstack does to take a device away while both run. */
export function detach(store: TestStore, kind: 'vbd' | 'vif', domain: number, id: string): void {
  const back = `/local/domain/0/backend/${kind}/${domain}/${id}`
  store.seed({ [`${back}/online`]: '0', [`${back}/state`]: '5' })
}

/** What the toolstack removes once both halves are closed. */
export function removeDevice(store: TestStore, kind: 'vbd' | 'vif', domain: number, id: string): void {
  store.drop(`/local/domain/${domain}/device/${kind}/${id}`)
  store.drop(`/local/domain/0/backend/${kind}/${domain}/${id}`)
}
