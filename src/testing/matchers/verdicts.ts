/**
 * What tests want to know of domains and hosts, as verdicts: how a guest has ended, how it crashed, what its console showed, what
 * XenStore holds, which frames came, what is left. Assertions and a runner's matchers are made of these.
 */
import type { Domain, Host, ShutdownReasonName, UntilOptions } from '../../toolstack/index.ts'
import { shown, XenError } from '../../util/index.ts'
import { findLeaks } from '../host/leaks.ts'
import { differenceOfLines } from '../host/text-difference.ts'
import type { NodeWish } from '../host/wait-for-node.ts'
import { frameCondition, framesText, matcherText, type FrameMatcher } from '../network/frame-matcher.ts'
import { tailOf, type Verdict } from './verdict.ts'

/** What a crash is to be; what is left out does not matter. */
export interface CrashWish {
  /** The exception: `page fault`. */
  readonly exception?: string | RegExp | undefined
  /** The function in which it happened, where the kernel's symbols are known. */
  readonly symbol?: string | RegExp | undefined
  /** What the crash says of itself. */
  readonly text?: string | RegExp | undefined
}

/** XenStore's contents by path. */
export type NodeWishes = Readonly<Record<string, NodeWish>>

/** Somebody who keeps the frames that came. */
export interface FrameKeeper {
  readonly frames: readonly Uint8Array[]
}

const isLike = (wish: string | RegExp, found: string | undefined): boolean =>
  found !== undefined && (typeof wish === 'string' ? found.includes(wish) : new RegExp(wish.source, wish.flags.replace(/[gy]/g, '')).test(found))

/** Waits for the guest's end; whether it was for this reason. Resolves with a verdict that fails when it does not end in time. */
export async function shutdownVerdict(domain: Domain, reason?: ShutdownReasonName, options: UntilOptions = {}): Promise<Verdict> {
  const wanted = reason ?? 'any reason'
  try {
    const ended = await domain.waitForShutdown(options)
    const pass = reason === undefined || ended === reason
    return { pass, message: pass ? `domain ${domain.name} has shut down: ${ended}` : `domain ${domain.name} has shut down for ${ended}, not for ${wanted}`, expected: wanted, actual: ended }
  } catch (error) {
    if (!XenError.is(error, 'TIMED_OUT') && !XenError.is(error, 'IDLE')) throw error
    return { pass: false, message: `domain ${domain.name} has not shut down for ${wanted}: it runs; its console's last words: ${tailOf(domain.console.text())}`, expected: wanted, actual: 'running' }
  }
}

/** Waits for the guest's end; whether it has crashed, and as expected. */
export async function crashVerdict(domain: Domain, wish: CrashWish = {}, options: UntilOptions = {}): Promise<Verdict> {
  const end = await shutdownVerdict(domain, undefined, options)
  const { crash } = domain
  if (crash === undefined) return { ...end, pass: false, message: end.pass ? `domain ${domain.name} has not crashed: ${end.message}` : end.message, expected: wish }
  const found = { exception: crash.exception?.name, symbol: crash.exception?.symbol, text: crash.text }
  const wrong = (['exception', 'symbol', 'text'] as const).find((name) => wish[name] !== undefined && !isLike(wish[name], found[name]))
  const message = wrong === undefined ? `domain ${domain.name} has crashed: ${crash.text}`
    : `domain ${domain.name} has crashed otherwise: ${wrong} is ${shown(found[wrong])}, not ${wish[wrong] instanceof RegExp ? String(wish[wrong]) : shown(wish[wrong])}\n${crash.text}`
  return { pass: wrong === undefined, message, expected: wish, actual: found }
}

/** Whether a console has shown these lines in this order, other lines between them or not. */
export function consoleVerdict(domain: Domain, wanted: string | RegExp | readonly (string | RegExp)[]): Verdict {
  const list = typeof wanted === 'string' || wanted instanceof RegExp ? [wanted] : wanted
  const text = domain.console.text()
  const lines = text.split('\n')
  let at = 0
  for (const [place, each] of list.entries()) {
    const found = lines.findIndex((line, number) => number >= at && isLike(each, line))
    if (found >= 0) {
      at = found + 1
      continue
    }
    const behind = place === 0 ? '' : ` behind line ${at}`
    return { pass: false, message: `the console of ${domain.name} has not shown ${shown(each instanceof RegExp ? String(each) : each)}${behind}; it has shown ${tailOf(text)}`, expected: list.map(String), actual: text }
  }
  return { pass: true, message: `the console of ${domain.name} has shown ${shown(list.map(String))}`, expected: list.map(String), actual: text }
}

const wishLine = (path: string, wish: NodeWish, isMet: boolean, value: string | undefined): string => {
  const found = value === undefined ? '(none)' : JSON.stringify(value)
  if (isMet) return `${path} = ${found}`
  const wanted = wish === null ? '(none)' : wish === undefined ? 'anything' : typeof wish === 'function' ? 'what a condition takes' : wish instanceof RegExp ? String(wish) : JSON.stringify(wish)
  return `${path} = ${wanted}`
}

/** Whether XenStore holds all of this now; paths without a slash at their beginning are below `/local/domain`. */
export function nodesVerdict(host: Host, wishes: NodeWishes): Verdict {
  const rows = Object.entries(wishes).map(([given, wish]) => {
    const path = given.startsWith('/') ? given : `/local/domain/${given}`
    const value = host.store.tryRead(path)
    const isMet = wish === null ? value === undefined : value !== undefined && (wish === undefined || (typeof wish === 'function' ? wish(value) : typeof wish === 'string' ? wish === value : isLike(wish, value)))
    return { isMet, expected: wishLine(path, wish, isMet, value), actual: wishLine(path, value ?? null, true, value) }
  })
  const [expected, actual] = [rows.map((row) => row.expected), rows.map((row) => row.actual)]
  const pass = rows.every(({ isMet }) => isMet)
  return { pass, message: pass ? `XenStore holds ${actual.join(', ')}` : `XenStore holds something else:\n${differenceOfLines(expected, actual) ?? ''}`, expected, actual }
}

/** Whether so many frames came that are meant; at least one where no number is given. */
export function framesVerdict({ frames }: FrameKeeper, matcher: FrameMatcher, times?: number): Verdict {
  const isMeant = frameCondition(matcher)
  const count = frames.filter(isMeant).length
  const pass = times === undefined ? count > 0 : count === times
  const wanted = times === undefined ? 'at least once' : `${times} times`
  return { pass, message: `${matcherText(matcher)} was to come ${wanted} and came ${count} times; there came\n${framesText(frames.slice(-20)) || 'nothing'}`, expected: times ?? 'at least 1', actual: count }
}

/** Whether a host, whose guests are ended for it, holds nothing that a host without guests does not hold. */
export async function leaksVerdict(host: Host & { findLeaks?(): Promise<readonly string[]> }): Promise<Verdict> {
  // A host of `testHost` knows what it held at its beginning.
  const leaks = await (host.findLeaks?.() ?? findLeaks(host, undefined))
  return { pass: leaks.length === 0, message: leaks.length === 0 ? 'the host holds nothing' : `the host still holds what it should not:\n${leaks.map((leak) => `  ${leak}`).join('\n')}`, expected: [], actual: leaks }
}
