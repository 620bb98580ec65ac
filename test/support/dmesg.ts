/**
 * Two boots of Linux compared line by line by what their kernels say. What must differ between two machines (times,
 * measured speeds, addresses, sizes that follow from memory or from the kernel's own size) is masked; everything else
 * counts.
 */

/** What is masked, and by what; in order. */
const MASKS: readonly (readonly [RegExp, string])[] = [
  [/^Linux version .*/, 'Linux version #'],
  [/^(?:Kernel c|C)ommand line: .*/, 'Command line: #'],
  [/0x[0-9a-f]+/g, '0x#'],
  [/Detected [\d.]+ MHz/, 'Detected # MHz'],
  [/[\d.]+ BogoMIPS \(lpj=\d+\)/, '# BogoMIPS (lpj=#)'],
  [/max_idle_ns: \d+ ns/, 'max_idle_ns: # ns'],
  [/Marking stable .*/, 'Marking stable #'],
  [/audit\([\d.]+:/, 'audit(#:'],
  [/generated kernel key: [0-9a-f]+/, 'generated kernel key: #'],
  [/\b\d+K\b/g, '#K'],
  [/entries: \d+ \(order:? \d+, \d+ bytes/, 'entries: # (#'],
  [/Total pages: \d+/, 'Total pages: #'],
  [/max_order=\d+/, 'max_order=#'],
  [/u\d+$/, 'u#'],
  [/established \d+ bind \d+/, 'established # bind #'],
  [/allocating \d+ entries in \d+ pages/, 'allocating # entries in # pages'],
  [/allocated \d+ pages with \d+ groups/, 'allocated # pages with # groups'],
  [/sigframe size: \d+/, 'sigframe size: #'],
  [/Freeing initrd memory: .*/, 'Freeing initrd memory: #'],
]

/**
 * A command that prints the first lines of the kernel's log that match an extended expression, without their times: shells take what
 * begins with one for the kernel speaking on the console meanwhile, and leave it out.
 */
export const kernelLog = (pattern: string): string => `dmesg | sed "s/^.[^]]*. //" | grep -E "${pattern}" | head -3`

/** The kernel's lines of a console, without their times, up to where init starts. */
export function kernelLines(console: string): readonly string[] {
  const lines = console.split(/\r*\n/).flatMap((line) => /^\[ *\d+\.\d+\] (.*)$/.exec(line.trimEnd())?.slice(1) ?? [])
  const end = lines.findIndex((line) => / as init process$/.test(line))
  return (end < 0 ? lines : lines.slice(0, end)).map((line) => line.trimEnd())
}

/** One line with everything masked that may differ. */
export const masked = (line: string): string =>
  MASKS.reduce((text, [pattern, replacement]) => text.replace(pattern, replacement), line)

/** What only one of two boots says, as often as it says it more. */
export interface DmesgDifference {
  readonly missing: readonly string[]
  readonly added: readonly string[]
}

/** Lines of `first` that `second` has not, or not as often. */
function surplus(first: readonly string[], second: readonly string[]): string[] {
  const count = new Map<string, number>()
  for (const line of second) count.set(masked(line), (count.get(masked(line)) ?? 0) + 1)
  return first.filter((line) => {
    const left = count.get(masked(line)) ?? 0
    count.set(masked(line), left - 1)
    return left <= 0
  })
}

/** Compares what a kernel said here with what it said on real Xen. Order does not count: some lines come from threads. */
export function compareDmesg(here: string, onXen: string): DmesgDifference {
  const [ours, theirs] = [kernelLines(here), kernelLines(onXen)]
  return { missing: surplus(theirs, ours), added: surplus(ours, theirs) }
}
