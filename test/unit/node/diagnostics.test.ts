/** A host's events on Node's own diagnostics channels. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect, test } from 'vitest'
import type { Host, HostEvent } from '../../../src/index.ts'
import { DIAGNOSTICS_CHANNEL, publishDiagnostics } from '../../../src/node/index.ts'
import { hostsOfTests } from '../../support/mini.ts'

const boot = hostsOfTests({ memory: 32, dom0Memory: 8 })

test('every event is published on the channel of all and on that of its type, until publishing is stopped', async () => {
  const host = await boot()
  const [all, own]: [string[], string[]] = [[], []]
  const hearAll = (message: unknown): void => {
    const { host: of, event } = message as { host: Host; event: HostEvent }
    if (of === host) all.push(event.type)
  }
  const hearOwn = (message: unknown): void => void own.push((message as { event: HostEvent }).event.type)
  expect(DIAGNOSTICS_CHANNEL).toBe('paravirt:host')
  subscribe('paravirt:host', hearAll)
  subscribe('paravirt:host:domain-paused', hearOwn)
  const stop = publishDiagnostics(host)
  const domain = await host.createDomain({ name: 'a', memory: 4, kernel: () => undefined })
  domain.pause()
  domain.unpause()
  expect(all).toEqual(host.events.recent().map(({ type }) => type))
  expect(own).toEqual(['domain-paused'])
  stop()
  domain.pause()
  expect([all.at(-1), own.length]).toEqual(['domain-unpaused', 1])
  unsubscribe('paravirt:host', hearAll)
  unsubscribe('paravirt:host:domain-paused', hearOwn)
})
