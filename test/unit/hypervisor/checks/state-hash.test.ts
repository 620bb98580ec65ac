import { expect, test } from 'vitest'
import { PvGuest } from '../../../support/pv-guest.ts'
import { TestHost } from '../../../support/hypervisor-host.ts'

test('the same steps on two hosts give the same hash, and each step changes it', () => {
  const hashes = [1, 2].map(() => {
    const seen: string[] = []
    const guest = PvGuest.boot()
    const look = (): void => void seen.push(guest.host.hypervisor.stateHash())
    look()
    guest.run((registers) => {
      registers.set(3, 7, 0)
      return undefined
    })
    look()
    guest.call('xen_version', 1, guest.at(3))
    look()
    guest.host.guest({ pages: 3 })
    look()
    return seen
  })
  expect(hashes[0]).toEqual(hashes[1])
  expect(new Set(hashes[0]).size).toBe(4)
})

test('one changed bit of a guest\'s memory changes the hash', () => {
  const host = new TestHost()
  const guest = host.guest()
  const before = host.hypervisor.stateHash()
  host.memory.bytes[guest.frames[9]! * 4096 + 77]! ^= 1
  expect(host.hypervisor.stateHash()).not.toBe(before)
})
