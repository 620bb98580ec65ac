/**
 * Where guests spend their instructions, by function: the samples that the compiling tier takes anyway, with names of kernels - given ones, or those that
 * Linux carries - and of programs whose files are given. Reading one costs guests nothing.
 */
import { speedscopeProfile, type ProcessorProfile, type ProfileSample, type SpeedscopeFile } from '../../machine/index.ts'
import { findSymbol, type DomainReference, type Host } from '../../toolstack/index.ts'
import { byteArray, checkArgument, checkOptions, having, listOf, record, real, text, anything } from '../../util/index.ts'
import { pprofProfile } from './pprof.ts'
import type { FunctionProfile, NamedSample, ProfiledDomain } from './profile-rows.ts'

/** A program of a guest whose functions are to have names. */
export interface ProgramSymbols {
  /** What it is called in the profile. */
  readonly name: string
  /** Its file, not stripped. */
  readonly elf: Uint8Array
  /** Where its first byte was loaded; a program that is not relocatable needs none. Default 0. */
  readonly base?: number | undefined
}

/** What is profiled. */
export interface ProfileOptions {
  /** Only this domain. Default: all that have samples. */
  readonly domain?: DomainReference | undefined
  readonly programs?: readonly ProgramSymbols[] | undefined
  /** A profile of before: what was counted until then is left out. */
  readonly since?: GuestProfile | undefined
}

/** Profiles of a host's guests. */
export interface GuestProfile {
  /** Host time in nanoseconds at which it was taken. */
  readonly taken: number
  readonly domains: readonly ProfiledDomain[]
  /** The functions as a table, the most sampled first. */
  toText(most?: number): string
  /** A file for speedscope.app, to be written as JSON. */
  toSpeedscope(): SpeedscopeFile
  /** A file for pprof, not compressed. */
  toPprof(): Uint8Array
}

/** Counts behind a profile, for one that goes on from it. */
interface Counted {
  readonly profile: ProcessorProfile
  readonly cpuTime: number
}
const counts = /* @__PURE__ */ new WeakMap<GuestProfile, ReadonlyMap<number, Counted>>()

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
const samplesOf = ({ interpreted, compiled }: ProfileSample): number => interpreted + compiled

/** What came since; counts only grow, unless the host was brought back or the domain is another: then it is all. */
function since({ samples, exits, slice }: ProcessorProfile, before: ProcessorProfile | undefined): ProcessorProfile {
  if (before === undefined) return { samples, exits, slice }
  const known = new Map(before.samples.map((sample) => [sample.address, sample]))
  const rest = samples.map(({ address, interpreted, compiled }) => {
    const earlier = known.get(address) ?? { interpreted: 0, compiled: 0 }
    return { address, interpreted: Math.max(0, interpreted - earlier.interpreted), compiled: Math.max(0, compiled - earlier.compiled) }
  })
  const exitsSince = Object.entries(exits).map(([cause, count]) => [cause, Math.max(0, count - (before.exits[cause] ?? 0))] as const)
  return {
    slice,
    samples: rest.filter((sample) => samplesOf(sample) > 0).sort((one, other) => samplesOf(other) - samplesOf(one)),
    exits: Object.fromEntries(exitsSince.filter(([, count]) => count > 0).sort(([, one], [, other]) => other - one)),
  }
}

function checkProgram(program: ProgramSymbols): void {
  checkOptions('a program of profile', program, { name: text, elf: byteArray, base: real(-(2 ** 63), 2 ** 64) })
  checkArgument('the name of a program', program.name, text)
  checkArgument('the file of a program', program.elf, byteArray)
}

/** Names of addresses of one domain. */
class Names {
  private readonly host: Host
  private readonly domid: number
  private readonly width: number
  private readonly programs: readonly { readonly name: string; readonly base: number; readonly find: (address: number) => string | undefined }[]

  constructor(host: Host, domid: number, programs: readonly ProgramSymbols[]) {
    this.host = host
    this.domid = domid
    this.width = host.domain(domid).info().addressSize
    this.programs = programs.map(({ name, elf, base = 0 }) => ({ name, base, find: findSymbol(elf) }))
  }

  of(sample: ProfileSample): NamedSample {
    const { address } = sample
    if (address === -1) return { ...sample, name: undefined, owner: 'elsewhere', image: 'elsewhere' }
    const kernel = this.host.symbolAt(this.domid, address)
    if (kernel !== undefined) return { ...sample, name: kernel, owner: 'kernel', image: 'kernel' }
    if (this.width === 64 && address < 0) return { ...sample, name: undefined, owner: 'kernel', image: 'kernel' }
    for (const { name: image, base, find } of this.programs) {
      const name = find(address - base)?.replace(/\+0x.*/, '')
      if (name !== undefined) return { ...sample, name, owner: 'program', image }
    }
    return { ...sample, name: undefined, owner: this.width === 64 ? 'program' : 'elsewhere', image: this.width === 64 ? 'programs' : 'elsewhere' }
  }
}

function functionsOf(samples: readonly NamedSample[], { slice, time }: { readonly slice: number; readonly time: number }): readonly FunctionProfile[] {
  const total = sum(samples.map(samplesOf))
  const found = new Map<string, NamedSample & { count: number }>()
  for (const sample of samples) {
    const key = `${sample.image}\0${sample.name ?? ''}`
    const row = found.get(key) ?? { ...sample, count: 0 }
    row.count += samplesOf(sample)
    found.set(key, row)
  }
  return [...found.values()].sort((one, other) => other.count - one.count)
    .map(({ name = '(unknown)', owner, image, count }) => ({ name, owner, image, samples: count, instructions: count * slice, time: total === 0 ? 0 : (time * count) / total }))
}

/** A table of the functions of a domain. */
function domainText({ name, domid, time, instructions, exits, functions }: ProfiledDomain, most: number): string {
  const rows = functions.slice(0, most).map((row) =>
    `${((100 * row.instructions) / instructions).toFixed(1).padStart(6)} % ${(row.time / 1e6).toFixed(3).padStart(12)} ms  ${row.name}${row.owner === 'kernel' ? '' : ` (${row.image})`}`)
  const why = Object.entries(exits).map(([cause, count]) => `${cause} ${count}`).join(', ')
  return [`${name} (${domid}): ${(time / 1e6).toFixed(3)} ms, ${instructions} instructions sampled`, ...rows, `  exits: ${why === '' ? 'none' : why}`].join('\n')
}

/**
 * Where the guests of a host have spent their instructions so far, or since an earlier profile. Throws DOMAIN_NOT_FOUND, INVALID_STATE for a guest written in
 * TypeScript, INVALID_IMAGE for a program without symbols, INVALID_ARGUMENT.
 *
 * @example
 * const before = profile(host)
 * await domain.console.write('work\n')
 * console.log(profile(host, { domain: 'app', since: before }).toText())
 */
export function profile(host: Host, options: ProfileOptions = {}): GuestProfile {
  checkArgument('the host of profile', host, having('profile', 'symbolAt'))
  checkOptions('profile', options, { domain: anything, programs: listOf(record), since: having('toText') })
  for (const program of options.programs ?? []) checkProgram(program)
  const earlier = options.since === undefined ? undefined : counts.get(options.since)
  const chosen = options.domain === undefined ? host.profile().domains : [host.domain(options.domain)].map((domain) => ({ domid: domain.id, name: domain.name, profile: domain.profile() }))
  const counted = new Map(chosen.map(({ domid, profile }) => [Number(domid), { profile, cpuTime: host.domain(domid).info().cpuTime }]))
  const domains = chosen.map(({ domid, name }): ProfiledDomain => {
    const { profile: all, cpuTime } = counted.get(domid)!
    const before = earlier?.get(domid)
    const { samples: raw, exits, slice } = since(all, before?.profile)
    const names = new Names(host, domid, options.programs ?? [])
    const samples = raw.map((sample) => names.of(sample))
    const time = Math.max(0, cpuTime - (before?.cpuTime ?? 0))
    return { domid, name, time, instructions: sum(raw.map(samplesOf)) * slice, exits, slice, samples, functions: functionsOf(samples, { slice, time }) }
  })
  const found: GuestProfile = {
    taken: host.now(), domains,
    toText: (most = 20) => `${domains.map((domain) => domainText(domain, most)).join('\n')}\n`,
    toSpeedscope: () => speedscopeProfile(domains.map((domain) => {
      const byAddress = new Map(domain.samples.map(({ address, name }) => [address, name]))
      return { name: domain.name, profile: domain, symbol: (address: number) => byAddress.get(address) }
    })),
    toPprof: () => pprofProfile(domains),
  }
  counts.set(found, counted)
  return found
}
