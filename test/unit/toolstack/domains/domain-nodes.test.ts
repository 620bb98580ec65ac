import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { XenStore, type LocalStore } from '../../../../src/xenstore/index.ts'
import {
  removeDomainNodes, writeDomainNodes, writeHostNodes, writeRingNodes, type DomainFacts,
} from '../../../../src/toolstack/domains/domain-nodes.ts'

const GOLDEN = readFileSync(new URL('../../../golden/xenstore-domain-xen-4.17.txt', import.meta.url), 'utf8')

/** The domain of the capture. */
const FACTS: DomainFacts = {
  type: 'pv',
  id: 7,
  name: 'sr',
  uuid: '244aa2c4-2b43-4d58-9025-8100a436be34',
  memory: 131072,
  maxMemory: 131072,
  vcpus: 1,
  maxVcpus: 1,
  kernel: '/g/vmlinuz',
  ramdisk: '/g/initrd-tick.gz',
  commandLine: 'console=hvc0 panic=-1 rdinit=/init',
  driverDomain: false, startTime: 1795333962.29,
}

/** The tree in the form of `xenstore-ls -f -p`. */
function list(store: LocalStore, path = ''): string[] {
  return store.list(path === '' ? '/' : path).flatMap((name) => {
    const at = `${path}/${name}`
    return [`${at} = "${store.read(at)}"   (${store.getPermissions(at).join(',')})`, ...list(store, at)]
  })
}

function created(): LocalStore {
  const store = new XenStore().local()
  writeHostNodes(store)
  store.transaction((t) => writeDomainNodes(t, FACTS))
  store.transaction((t) =>
    writeRingNodes(t, 7, { storeFrame: 422913, storePort: 1, consoleFrame: 422914, consolePort: 2 }),
  )
  return store
}

describe('the nodes of a new domain', () => {
  test('are those of a real host: keys, values and permissions', () => {
    const written = list(created())
    // What others wrote into the capture: Linux its features, in dom0 and in the guest, xenconsoled the tty's name.
    const expected = GOLDEN.split('\n').filter((line) => line.startsWith('/'))
      .filter((line) => !line.startsWith('/local/domain/0/control'))
      .map((line) => (/\/7\/control\/feature-/.test(line) ? line.replace('"1"', '""') : line))
      .map((line) => line.replace('"/dev/pts/0"', '""'))
    expect(written.sort()).toEqual(expected.sort())
  })

  test('of a PVH guest are those of a real host: its rings have its own frame numbers, and nothing tells what it was started with', () => {
    const store = new XenStore().local()
    const uuid = '51844524-4765-470a-a6a5-77ef626f0d99'
    writeDomainNodes(store, { ...FACTS, type: 'pvh', id: 1, name: 'p', uuid, memory: 163840, maxMemory: 196608, vcpus: 2, maxVcpus: 2, startTime: 1795903836.57 })
    writeRingNodes(store, 1, { storeFrame: 0xfeffc, storePort: 1, consoleFrame: 0xfefff, consolePort: 2 })
    const written = ['/local/domain/1', `/vm/${uuid}`, '/libxl/1'].flatMap((path) => [`${path} = ""`, ...list(store, path)])
      .map((line) => line.replace(/ {3}\(.*\)$/, ''))
    // Disk and interface are attached later; the guest and xenconsoled wrote the features and the tty's name.
    const expected = readFileSync(new URL('../../../golden/xenstore-pvh-xen-4.17.txt', import.meta.url), 'utf8').split('\n')
      .filter((line) => /^\/(local\/domain|vm\/|libxl\/)/.test(line) && !/\/device\/v(bd|if)/.test(line))
      .map((line) => (/feature-(poweroff|reboot|suspend)/.test(line) ? line.replace('"1"', '""') : line).replace('"/dev/pts/0"', '""'))
    expect(written.sort()).toEqual(expected.sort())
  })

  test('are all gone when the domain is', () => {
    const store = new XenStore().local()
    writeHostNodes(store)
    const before = list(store)
    store.transaction((t) => writeDomainNodes(t, FACTS))
    store.transaction((t) => writeRingNodes(t, 7, { storeFrame: 1, storePort: 1, consoleFrame: 2, consolePort: 2 }))
    removeDomainNodes(store, 7, FACTS.uuid)
    expect(list(store)).toEqual(before)
    removeDomainNodes(store, 7, FACTS.uuid)
    expect(list(store)).toEqual(before)
  })

  test('tell which virtual CPUs are online', () => {
    const store = new XenStore().local()
    writeDomainNodes(store, { ...FACTS, vcpus: 2, maxVcpus: 3 })
    expect([0, 1, 2].map((vcpu) => store.read(`/local/domain/7/cpu/${vcpu}/availability`))).toEqual([
      'online',
      'online',
      'offline',
    ])
  })
})
