/**
 * Physical CPUs as description files and xl name them: `all`, `0-3,5,^1`, `node:0`. Pure text; which CPUs there are is told.
 * Reference: xl.cfg(5), "cpus"; tools/xl/xl_parse.c, update_cpumap_range. A host here is one NUMA node.
 */
import { XenError } from '../../util/index.ts'

/** One part of a list: an exclusion or not, whole nodes or CPUs, from and to. */
const PART = /^(\^?)(nodes?:)?(?:all|([0-9]{1,4})(?:-([0-9]{1,4}))?)$/

/** Whether a text is a list of CPUs, whatever CPUs there are. */
export const isCpuList = (text: string): boolean => text.split(',').every((part) => {
  const match = PART.exec(part.trim())
  return match !== null && (match[4] === undefined || Number(match[3]) <= Number(match[4]))
})

/** The numbers of CPUs of a host of `count` that one part means. */
function cpusOfPart([, , nodes, first, last]: RegExpExecArray, count: number): number[] {
  const all = Array.from({ length: count }, (_, cpu) => cpu)
  if (first === undefined) return all
  const [from, to] = [Number(first), Number(last ?? first)]
  if (nodes !== undefined) return from === 0 ? all : []
  return all.filter((cpu) => cpu >= from && cpu <= to)
}

/**
 * The CPUs of a host of `count` that a list means, ascending; those that there are not are passed over, as xl does. Throws
 * INVALID_ARGUMENT for what is no list.
 *
 * @example
 * parseCpuList('0-3,^1', 8) // [0, 2, 3]
 */
export function parseCpuList(text: string, count: number): number[] {
  if (!isCpuList(text)) {
    throw new XenError('INVALID_ARGUMENT', `"${text}" is no list of CPUs such as "all" or "0-3,5,^1"`, { details: { value: text } })
  }
  const found = new Set<number>()
  text.split(',').forEach((part, i) => {
    const match = PART.exec(part.trim())!
    const isNot = match[1] !== ''
    // A list that begins by leaving some out means all others.
    if (isNot && i === 0) for (let cpu = 0; cpu < count; cpu += 1) found.add(cpu)
    for (const cpu of cpusOfPart(match, count)) {
      if (isNot) found.delete(cpu)
      else found.add(cpu)
    }
  })
  return [...found].sort((a, b) => a - b)
}

/** CPUs as xl shows them: `all` where they are all of a host of `count`, `0-2,5` otherwise, `none`. */
export function formatCpuList(cpus: readonly number[], count: number): string {
  const present = [...new Set(cpus)].sort((a, b) => a - b)
  if (present.length >= count) return 'all'
  if (present.length === 0) return 'none'
  const ranges: [number, number][] = []
  for (const cpu of present) {
    const last = ranges.at(-1)
    if (last !== undefined && last[1] === cpu - 1) last[1] = cpu
    else ranges.push([cpu, cpu])
  }
  return ranges.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`)).join(',')
}
