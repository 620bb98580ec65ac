/**
 * Matchers of vitest for domains and hosts, and `testHost` with the report of a failure behind its error. Importing this adds the
 * matchers. vitest is an optional peer of the package: whoever imports this has it.
 *
 * @example
 * import { expect, test } from 'vitest'
 * import { testHost } from 'paravirt/testing/vitest'
 *
 * test('ends when it is told to', async () => {
 *   await using host = await testHost({ seed: 7 })
 *   const domain = await host.createDomain({ name: 'web', memory: 16 })
 *   await domain.console.write('poweroff\n')
 *   await expect(domain).toShutDown('poweroff')
 * })
 *
 * @module
 */
import { expect, onTestFailed } from 'vitest'
import type { Domain, ShutdownReasonName, UntilOptions } from '../../toolstack/index.ts'
import { testHost as plainTestHost, type TestHost, type TestHostOptions } from '../host/test-host.ts'
import type { FrameMatcher } from '../network/frame-matcher.ts'
import type { Verdict } from '../matchers/verdict.ts'
import { consoleVerdict, crashVerdict, framesVerdict, leaksVerdict, nodesVerdict, shutdownVerdict, type CrashWish, type FrameKeeper, type NodeWishes } from '../matchers/verdicts.ts'

/** What this adds to what `expect` offers. */
export interface ParavirtMatchers {
  /** Waits for a domain's end: `await expect(domain).toShutDown('poweroff', { timeout: '10s' })`. */
  toShutDown(reason?: ShutdownReasonName, options?: UntilOptions): Promise<void>
  /** Waits for a domain's crash: `await expect(domain).toCrash({ exception: 'page fault' })`. */
  toCrash(wish?: CrashWish, options?: UntilOptions): Promise<void>
  /** A domain's console has shown these lines, in this order. */
  toHaveShown(wanted: string | RegExp | readonly (string | RegExp)[]): void
  /** A host's XenStore holds these values: `expect(host).toHaveNodes({ '1/device/vbd/51712/state': '4', '/tool/old': null })`. */
  toHaveNodes(wishes: NodeWishes): void
  /** A network peer has received such a frame, at least once or so many times. */
  toHaveReceived(matcher: FrameMatcher, times?: number): void
  /** A host, whose guests are ended for it, holds nothing any more: `await expect(host).toHaveNoLeaks()`. */
  toHaveNoLeaks(): Promise<void>
}

declare module 'vitest' {
  interface Matchers<T> extends ParavirtMatchers {}
}

const answer = ({ pass, message, expected, actual }: Verdict): { pass: boolean; message: () => string; expected?: unknown; actual?: unknown } =>
  ({ pass, message: () => message, expected, actual })

expect.extend({
  toShutDown: async (domain: Domain, reason?: ShutdownReasonName, options?: UntilOptions) => answer(await shutdownVerdict(domain, reason, options)),
  toCrash: async (domain: Domain, wish?: CrashWish, options?: UntilOptions) => answer(await crashVerdict(domain, wish, options)),
  toHaveShown: (domain: Domain, wanted: string | RegExp | readonly (string | RegExp)[]) => answer(consoleVerdict(domain, wanted)),
  toHaveNodes: (host: TestHost, wishes: NodeWishes) => answer(nodesVerdict(host, wishes)),
  toHaveReceived: (keeper: FrameKeeper, matcher: FrameMatcher, times?: number) => answer(framesVerdict(keeper, matcher, times)),
  toHaveNoLeaks: async (host: TestHost) => answer(await leaksVerdict(host)),
})

/** Hooks of the test that runs now; none outside of one, as in `beforeAll`. */
function present(): TestHostOptions['test'] {
  // Only within a test may it be asked.
  const state = expect.getState()
  return state.currentTestName === undefined ? undefined : { onTestFailed: (hook) => onTestFailed(({ task }) => hook({ task })), name: state.currentTestName }
}

/**
 * The host for one test of `paravirt/testing`; where the test fails, its error has the report of the host behind its message.
 *
 * @example
 * import { testHost } from 'paravirt/testing/vitest'
 * test('boots', async () => {
 *   await using host = await testHost({ seed: 7 })
 *   const domain = await host.createDomain({ name: 'web', memory: 32 })
 *   await domain.shutdown()
 *   await expect(domain).toShutDown('poweroff')
 * })
 */
export const testHost = (options: TestHostOptions = {}): Promise<TestHost> => plainTestHost({ test: present(), ...options })
