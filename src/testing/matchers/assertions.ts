/** The verdicts as functions that throw INVALID_STATE, for runners without matchers of their own, such as node:test. */
import type { Domain, Host, ShutdownReasonName, UntilOptions } from '../../toolstack/index.ts'
import type { FrameMatcher } from '../network/frame-matcher.ts'
import { require } from './verdict.ts'
import { consoleVerdict, crashVerdict, framesVerdict, leaksVerdict, nodesVerdict, shutdownVerdict, type CrashWish, type FrameKeeper, type NodeWishes } from './verdicts.ts'

/** Waits for the guest's end; rejects where it ends for another reason, or not in time. */
export const assertShutDown = async (domain: Domain, reason?: ShutdownReasonName, options: UntilOptions = {}): Promise<void> => require(await shutdownVerdict(domain, reason, options))

/** Waits for the guest's end; rejects where it does not crash, or not as expected. */
export const assertCrashed = async (domain: Domain, wish: CrashWish = {}, options: UntilOptions = {}): Promise<void> => require(await crashVerdict(domain, wish, options))

/** Throws where a console has not shown these lines in this order. */
export const assertShown = (domain: Domain, wanted: string | RegExp | readonly (string | RegExp)[]): void => require(consoleVerdict(domain, wanted))

/** Throws where XenStore holds something else; `null` stands for a node that is not there. */
export const assertNodes = (host: Host, wishes: NodeWishes): void => require(nodesVerdict(host, wishes))

/** Throws where not so many frames came that are meant. */
export const assertReceived = (keeper: FrameKeeper, matcher: FrameMatcher, times?: number): void => require(framesVerdict(keeper, matcher, times))

/** Ends the guests of a host; rejects where it still holds something. */
export const assertNoLeaks = async (host: Host): Promise<void> => require(await leaksVerdict(host))
