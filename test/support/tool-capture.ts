/**
 * What Xen's own tools asked of real Xen 4.17, command by command (test/golden/dom0-tool-hypercalls-xen-4.17.txt), as calls that can be
 * made again: operation, domain, the words of its structure as given and as returned, result, how often.
 */

/** One call, or several that are equal. */
export interface CapturedCall {
  /** Hypercall and operation: `domctl/max_mem`. */
  readonly name: string
  /** Who made it: `xl`, `xenstored` ... */
  readonly process: string
  readonly domain: number
  /** Words of the operation's own structure. */
  readonly given: readonly number[]
  /** The same as they came back, where they differed. */
  readonly returned: readonly number[] | undefined
  /** Other arguments and answers by name, as numbers. */
  readonly fields: Readonly<Record<string, number>>
  readonly answers: Readonly<Record<string, number>>
  /** Undefined where it was not recorded. */
  readonly result: number | undefined
  readonly times: number
  /** The line, for reports. */
  readonly text: string
}

/** The calls of one command. */
export interface CapturedCommand {
  readonly command: string
  readonly calls: readonly CapturedCall[]
}

const wordsOf = (text: string | undefined): number[] | undefined => text?.split(' ').filter((word) => word !== '').map((word) => parseInt(word, 16))

/** Numbers by name: decimal, but for flags, pages and frames. */
function numbersOf(text: string): Record<string, number> {
  return Object.fromEntries([...text.matchAll(/(\w+)=([0-9a-f]+)\b/g)].map(([, name, value]) => {
    const isHexadecimal = /^(flags|tot_pages|max_pages|shared_info_frame|mfn)$/.test(name!) || /[a-f]/.test(value!)
    return [name!, parseInt(value!, isHexadecimal ? 16 : 10)]
  }))
}

/** One line; undefined for what is no call of a tool's: calls of dom0's kernel, foreign maps, portions of a longer call. */
function readLine(line: string): CapturedCall | undefined {
  const [, process, name, rest] = /^ {2}\[([^\]]+)\] (?:mc )?(\w+\/\w+) ?(.*)$/.exec(line) ?? []
  if (name === undefined || rest === undefined || rest.includes('(preempted, continues)') || rest.includes('start_extent=')) return undefined
  const [, before, result, times = '1'] = /^(.*?) ?= (-?\d+)(?: x (\d+))?$/.exec(rest) ?? [undefined, rest.replace(/ x \d+$/, ''), undefined, /x (\d+)$/.exec(rest)?.[1]]
  const [asked = '', answered = ''] = before!.split(' => ')
  const domain = /\bdom(?:id)?=([0-9a-f]+)/.exec(asked)?.[1]
  return {
    name, process: process!, domain: domain === undefined ? 0 : parseInt(domain, name.startsWith('domctl') ? 16 : 10),
    given: wordsOf(/\{([^}]*)\}/.exec(asked)?.[1]) ?? [], returned: wordsOf(/\{([^}]*)\}/.exec(answered)?.[1]),
    fields: numbersOf(asked), answers: numbersOf(answered), result: result === undefined ? undefined : Number(result), times: Number(times), text: line.trim(),
  }
}

/** All commands, in the order in which they were given. */
export function readToolCapture(text: string): CapturedCommand[] {
  return text.split(/^## /m).slice(1).map((section) => {
    const [command = '', ...lines] = section.split('\n')
    return { command, calls: lines.flatMap((line) => readLine(line) ?? []) }
  })
}

/** What every command asks before its own calls. */
const PREAMBLE: readonly string[] = ['sysctl/physinfo']
/** Asked by daemons as things happen, as often as they do. */
const BY_DAEMONS: readonly string[] = ['domctl/getdomaininfo']

/** The calls of a command in their order, each as often as it was made anew: without the preamble, what daemons ask, and repetitions in a row. */
export const sequenceOf = (names: readonly string[]): string[] =>
  names.filter((name) => !PREAMBLE.includes(name) && !BY_DAEMONS.includes(name)).filter((name, index, all) => name !== all[index - 1])
