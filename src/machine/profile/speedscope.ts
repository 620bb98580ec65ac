/**
 * Processors' samples in the format of speedscope.app, which draws them.
 * Reference: speedscope's file-format-schema.json, "sampled" profiles.
 */
import { checkArgument, list } from '../../util/index.ts'
import type { ProcessorProfile } from '../interface/profile.ts'

/** A file for speedscope, to be written as JSON. */
export interface SpeedscopeFile {
  readonly $schema: 'https://www.speedscope.app/file-format-schema.json'
  readonly shared: { readonly frames: readonly { readonly name: string }[] }
  readonly profiles: readonly {
    readonly type: 'sampled'
    readonly name: string
    /** Instructions. */
    readonly unit: 'none'
    readonly startValue: 0
    readonly endValue: number
    readonly samples: readonly (readonly number[])[]
    readonly weights: readonly number[]
  }[]
}

/** A profile and how it is shown. */
export interface NamedProfile {
  /** Name of what was sampled. */
  readonly name: string
  readonly profile: ProcessorProfile
  /** Name of the function that an address lies in, where it is known. */
  readonly symbol?: (address: number) => string | undefined
}

const hex = (address: number): string => `0x${BigInt.asUintN(64, BigInt(address)).toString(16)}`

/** Names that all profiles of a file share, each once. */
class Frames {
  readonly list: { name: string }[] = []
  private readonly known = new Map<string, number>()

  /** Number of a name. */
  of(name: string): number {
    const found = this.known.get(name)
    if (found !== undefined) return found
    this.known.set(name, this.list.length)
    return this.list.push({ name }) - 1
  }
}

function sampledProfile({ name, profile, symbol = () => undefined }: NamedProfile, frames: Frames): SpeedscopeFile['profiles'][number] {
  const samples: number[][] = []
  const weights: number[] = []
  for (const { address, interpreted, compiled } of profile.samples) {
    const where = address === -1 ? [frames.of('elsewhere')] : [frames.of(symbol(address) ?? '(unknown)'), frames.of(hex(address))]
    for (const [how, count] of [['interpreted', interpreted], ['compiled', compiled]] as const) {
      if (count === 0) continue
      samples.push([...where, frames.of(how)])
      weights.push(count * profile.slice)
    }
  }
  const endValue = weights.reduce((sum, weight) => sum + weight, 0)
  return { type: 'sampled', name, unit: 'none', startValue: 0, endValue, samples, weights }
}

/**
 * A file of profiles, such as `host.profile().domains`: each sample as its function, below it the address, below that how it was
 * executed.
 */
export function speedscopeProfile(profiles: readonly NamedProfile[]): SpeedscopeFile {
  checkArgument('the profiles', profiles, list)
  const frames = new Frames()
  return {
    $schema: 'https://www.speedscope.app/file-format-schema.json',
    profiles: profiles.map((one) => sampledProfile(one, frames)),
    shared: { frames: frames.list },
  }
}
