/**
 * What Xen's own tools printed on real Xen 4.17, as a list of commands with their output (test/golden/dom0-*-xen-4.17.txt), and how what
 * they print here differs from it.
 */

/** One command that was typed, and everything that stands below it. */
export interface TypedCommand {
  readonly command: string
  readonly output: string
}

/** The commands of a transcript in their order. What begins with `#` between them explains. */
export function readTranscript(text: string): TypedCommand[] {
  return text.split(/^dom0# /m).slice(1).map((part) => {
    const [, command = '', output = ''] = /^((?:python3[^']*'[^']*'|[^\n])*)\n?([^]*)$/.exec(part) ?? []
    const own = output.split('\n').filter((line) => !line.startsWith('#')).join('\n')
    return { command, output: own.split(/^--- \w+\.cfg$/m)[0]!.trimEnd() }
  })
}

/** The description files that a transcript shows before its commands, by name. */
export const readDescriptions = (text: string): Record<string, string> =>
  Object.fromEntries([...text.matchAll(/^--- (\w+\.cfg)\n([^]*?)^---$/gm)].map(([, name, contents]) => [name!, contents!]))

/** What differs from run to run: times, identities, numbers of processes, pages and addresses, and the widths that they give to columns. */
const MASKS: readonly (readonly [RegExp, string | ((text: string) => string)])[] = [
  [/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, 'UUID'], [/(?<![-\d.])\d+\.\d+(?![\d.])/g, 'T'], [/\[(?:pid )?\d+\]/g, '[N]'],
  [/\b\d+:\d\d:\d\d\b/g, 'TIME'], [/\bmfn (?:0x)?[0-9a-f]+/g, 'mfn N'], [/0x[0-9a-f]{6,}|\b[0-9a-f]{16}\b/g, 'ADDRESS'],
  // What xentop has counted.
  [/^ *\S+ [-d][-s][-b][-c][-p][-r] .*$/gm, (line) => line.replace(/[-b](?=[-c][-p][-r] )|(?<= [-d][-s][-b][-c][-p])[-r]/g, '~').replace(/\d+/g, 'N')],
  [/\d+(?=s\b|bytes\b|pkts\b)|(?<=\b(?:cpu_time=|now = |0x0\/))\d+/g, 'N'],
  // Whether a domain or a vCPU just runs, and on which CPU.
  [/(?<= )[-r][-b](?=[-p](?:[-s][-c][-d])?(?: |$))/gm, '~~'], [/^(\S+ +\d+ +\d+ +)\d+(?= +~~[-p] )/gm, '$1C'],
  // Which of Debian's kernels it is, and when.
  [/\b6\.1\.0-\d+-amd64|\bDebian 6\.1\.\d+-\d+ \([-\d]+\)/g, 'KERNEL'], [/\b[A-Z][a-z]{2} +\d+ \d\d:\d\d\b/g, 'DATE'], [/(?<=VCPU\d: )CPU\d \[has=[TF]\]/g, 'C'],
  // How much there is of the machine.
  [/^((?:total|free)_memory *: | *Max MFN: )\d+/gm, '$1N'], [/^( *\d+: +)\d+ +\d+(?= +\d+$)/gm, '$1N N'],
  [/ {2,}/g, ' '], [/[ \t]+$/gm, ''], [/\n\n+/g, '\n'],
]

/** A text without what differs from run to run. */
export const masked = (text: string): string => MASKS.reduce((one, [what, by]) => one.replace(what, by as string), text).trim()

/** What two lists do not have in common, in order: `- ` what only the first has, `+ ` what only the second. */
export function listDifferences(there: readonly string[], here: readonly string[]): string[] {
  // Lengths of the longest common rest from each pair of places.
  const common = Array.from({ length: there.length + 1 }, () => new Uint16Array(here.length + 1))
  for (let i = there.length - 1; i >= 0; i -= 1) {
    for (let j = here.length - 1; j >= 0; j -= 1) common[i]![j] = there[i] === here[j] ? common[i + 1]![j + 1]! + 1 : Math.max(common[i + 1]![j]!, common[i]![j + 1]!)
  }
  const found: string[] = []
  for (let i = 0, j = 0; i < there.length || j < here.length;) {
    if (i < there.length && j < here.length && there[i] === here[j]) [i, j] = [i + 1, j + 1]
    else if (j >= here.length || (i < there.length && common[i + 1]![j]! >= common[i]![j + 1]!)) found.push(`- ${there[i++]}`)
    else found.push(`+ ${here[j++]}`)
  }
  return found
}

/** How an output differs from the one on real Xen, line by line. */
export const outputDifferences = (there: string, here: string): string[] =>
  listDifferences(masked(there).split('\n'), masked(here).split('\n'))
