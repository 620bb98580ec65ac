import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { XenStore, type LocalStore } from '../../../../src/xenstore/index.ts'
import {
  removeDomainNodes, writeDomainNodes, writeHostNodes, writeRingNodes, type DomainFacts,
} from '../../../../src/toolstack/domains/domain-nodes.ts'

const GOLDEN = readFileSync(new URL('../../../golden/xenstore-domain-xen-4.17.txt', import.meta.url), 'utf8')

/** The domain of the capture. */
const FACTS: DomainFacts = {
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
  startTime: 1795333962.29,
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
