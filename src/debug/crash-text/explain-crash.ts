/**
 * A crash of Linux out of the text of its console alone: what happened, where, in which process, and who had called. The text may be anybody's; of several crashes
 * it is the first, since what follows is mostly its consequence.
 * Reference: Linux, arch/x86/kernel/dumpstack.c (show_trace_log_lvl, __die_header), arch/x86/mm/fault.c (show_fault_oops), kernel/panic.c, lib/dump_stack.c.
 */
import { callable, checkArgument, text as isText } from '../../util/index.ts'

/** What a kernel says has happened. */
export type CrashKind = 'oops' | 'bug' | 'panic' | 'warning' | 'hang'

/** A place in code. */
export interface CrashPlace {
  /** The function. */
  readonly symbol: string
  /** Bytes from its beginning, and its length. */
  readonly offset: number
  readonly size: number
  /** The module that it is of; undefined for the kernel itself. */
  readonly module: string | undefined
  /** False where the unwinder is not sure: such lines begin with a question mark. */
  readonly isCertain: boolean
}

/** A crash, taken apart. */
export interface ExplainedCrash {
  readonly kind: CrashKind
  /** The line that tells it, without time. */
  readonly message: string
  /** In words, where it is one of those that have some. */
  readonly meaning: string | undefined
  /** Seconds since boot. */
  readonly time: number | undefined
  readonly cpu: number | undefined
  readonly process: { readonly pid: number; readonly name: string } | undefined
  /** Letters of what has tainted the kernel. */
  readonly taint: string | undefined
  readonly release: string | undefined
  /** Where it happened. */
  readonly at: CrashPlace | undefined
  /** The address that was accessed, of a fault. */
  readonly address: bigint | undefined
  /** Who had called, the innermost first. */
  readonly calls: readonly CrashPlace[]
  readonly registers: Readonly<Record<string, bigint>>
  /** Bytes of code, and which of them the processor stood before; undefined where they could not be read. */
  readonly code: { readonly bytes: readonly number[]; readonly mark: number } | undefined
  /** All of it as a few lines. */
  readonly text: string
}

interface Headline {
  readonly kind: CrashKind
  readonly pattern: RegExp
  readonly meaning?: string
}

/** What a crash begins with, the telling ones first. */
const HEADLINES: readonly Headline[] = [
  { kind: 'oops', pattern: /BUG: kernel NULL pointer dereference/, meaning: 'the kernel followed a pointer that is null, or nearly' },
  { kind: 'oops', pattern: /BUG: unable to handle (?:kernel )?(?:page fault|paging request|NULL pointer)/, meaning: 'the kernel accessed memory that is not mapped, or may not be accessed so' },
  { kind: 'oops', pattern: /general protection fault/, meaning: 'the kernel used an address that is none, such as a freed or overwritten pointer' },
  { kind: 'bug', pattern: /kernel BUG at \S+/, meaning: 'the kernel found a condition that must never hold' },
  { kind: 'bug', pattern: /BUG: (?:KASAN|KCSAN|KFENCE|Bad page|sleeping function|scheduling while atomic|spinlock|unable|using|key|MAX_LOCK|workqueue leaked)[^\n]*/ },
  { kind: 'hang', pattern: /(?:watchdog: )?BUG: soft lockup|INFO: task \S+ blocked for more than|rcu: INFO: \S+ (?:self-)?detected stall/, meaning: 'something has kept a processor, or a task, for too long' },
  { kind: 'oops', pattern: /\b(?:invalid opcode|divide error|int3|stack segment|double fault|bad RIP value|alignment check)\b: ?\d{4}/ },
  { kind: 'panic', pattern: /Kernel panic - not syncing: [^\n]*/, meaning: 'the kernel gave up' },
  { kind: 'warning', pattern: /WARNING: CPU: \d+ PID: \d+ at \S+/, meaning: 'the kernel found a condition that should not hold, and went on' },
]

const MOST_CALLS = 256
const MOST_LINES = 400
const STAMP = /^\[ *(\d+\.\d+)\](?:\[ *[TC]\d+\])? ?/
const PLACE = /^(\? )?([\w.$]+)\+0x([0-9a-f]+)\/0x([0-9a-f]+)(?: \[([\w-]+)[^\]]*\])?/

interface Line {
  readonly time: number | undefined
  readonly text: string
}

const linesOf = (text: string): readonly Line[] => text.split(/\r?\n/).map((line) => {
  const stamp = STAMP.exec(line)
  return { time: stamp === null ? undefined : Number(stamp[1]), text: (stamp === null ? line : line.slice(stamp[0].length)).trim() }
})

function placeOf(text: string): CrashPlace | undefined {
  const found = PLACE.exec(text)
  if (found === null) return undefined
  const [, doubt, symbol = '', offset = '', size = '', module] = found
  return { symbol, offset: parseInt(offset, 16), size: parseInt(size, 16), module, isCertain: doubt === undefined }
}

/** The line with the first telling headline; a panic and a warning only where there is nothing else, since they follow, or harm nobody. */
function begin(lines: readonly Line[]): { readonly index: number; readonly headline: Headline } | undefined {
  const found = HEADLINES.flatMap((headline) => {
    const index = lines.findIndex(({ text }) => headline.pattern.test(text))
    return index < 0 ? [] : [{ index, headline, rank: headline.kind === 'warning' ? 2 : headline.kind === 'panic' ? 1 : 0 }]
  })
  return found.sort((one, other) => one.rank - other.rank || one.index - other.index)[0]
}

function callsOf(lines: readonly Line[]): readonly CrashPlace[] {
  const start = lines.findIndex(({ text }) => /^Call Trace:/i.test(text))
  const found: CrashPlace[] = []
  if (start < 0) return found
  for (const { text } of lines.slice(start + 1)) {
    const plain = text.replace(/^\[<[0-9a-f]+>\] /, '')
    if (/^<\/?\w+>$/.test(plain)) continue
    const place = placeOf(plain)
    if (place === undefined || found.length >= MOST_CALLS) break
    found.push(place)
  }
  return found
}

function registersOf(lines: readonly Line[]): Record<string, bigint> {
  const found: Record<string, bigint> = {}
  for (const { text } of lines) {
    for (const [, name = '', value = ''] of text.matchAll(/\b(R[A-Z0-9]{1,2}|E[A-Z]{2}|CR[0-9]|ORIG_RAX|EFLAGS):(?: ?[0-9a-f]{4}:)? ?([0-9a-f]{8,16})\b/g)) {
      const key = name.toLowerCase()
      if (!Object.hasOwn(found, key)) found[key] = BigInt(`0x${value}`)
    }
  }
  return found
}

function codeOf(lines: readonly Line[]): ExplainedCrash['code'] {
  const line = lines.find(({ text }) => /^Code: (?:<?[0-9a-f]{2}>? ?)+$/.test(text))?.text
  if (line === undefined) return undefined
  const words = line.slice('Code: '.length).trim().split(/\s+/)
  return { bytes: words.map((word) => parseInt(word.replace(/[<>]/g, ''), 16)), mark: words.findIndex((word) => word.startsWith('<')) }
}

const placeText = ({ symbol, offset, module, isCertain }: CrashPlace): string => `${isCertain ? '' : '? '}${symbol}+0x${offset.toString(16)}${module === undefined ? '' : ` [${module}]`}`

function inWords(crash: Omit<ExplainedCrash, 'text'>, name: (place: CrashPlace) => string | undefined): string {
  const where = (place: CrashPlace): string => [placeText(place), name(place)].filter((part) => part !== undefined).join('  ')
  return [
    `${crash.kind}: ${crash.message}`,
    ...(crash.meaning === undefined ? [] : [`  that is: ${crash.meaning}`]),
    ...(crash.at === undefined ? [] : [`  in ${where(crash.at)}`]),
    ...(crash.process === undefined ? [] : [`  process ${crash.process.name} (${crash.process.pid})${crash.cpu === undefined ? '' : ` on CPU ${crash.cpu}`}`]),
    ...(crash.calls.length === 0 ? [] : ['  called from:', ...crash.calls.map((place) => `    ${where(place)}`)]),
    '',
  ].join('\n')
}

/**
 * The first crash that a console's text tells of; undefined where it tells of none. `name` adds to each place in code what else is known of it, such as a line of a
 * source. Throws INVALID_ARGUMENT.
 *
 * @example
 * console.log(explainCrash(domain.console.text())?.text)
 */
export function explainCrash(text: string, name: (place: CrashPlace) => string | undefined = () => undefined): ExplainedCrash | undefined {
  checkArgument('the text of explainCrash', text, isText)
  checkArgument('what names places', name, callable)
  const all = linesOf(text)
  const found = begin(all)
  if (found === undefined) return undefined
  const { index, headline } = found
  const lines = all.slice(index, index + MOST_LINES)
  const first = lines[0]!
  const who = lines.map((line) => /CPU: (\d+) (?:UID: \d+ )?PID: (\d+) (?:Comm: (\S+)|at)(?:.*?(?:Tainted: ([A-Z ]+?)|Not tainted) +(\d\S+))?/.exec(line.text)).find((match) => match?.[3] !== undefined)
  const rip = lines.map((line) => /^RIP: [0-9a-f]+:(?:\[<[0-9a-f]+>\] )?(.*)$/.exec(line.text)?.[1]).find((place) => place !== undefined && PLACE.test(place))
  const address = /address:? (?:0x)?([0-9a-f]{8,16})\b/.exec(first.text)?.[1]
  const crash: Omit<ExplainedCrash, 'text'> = {
    kind: headline.kind, message: first.text, meaning: headline.meaning, time: first.time,
    cpu: who === undefined || who === null ? undefined : Number(who[1]),
    process: who?.[3] === undefined ? undefined : { pid: Number(who[2]), name: who[3] },
    taint: who?.[4]?.trim(), release: who?.[5],
    at: rip === undefined ? undefined : placeOf(rip), address: address === undefined ? undefined : BigInt(`0x${address}`),
    calls: callsOf(lines), registers: registersOf(lines), code: codeOf(lines),
  }
  return { ...crash, text: inWords(crash, name) }
}
