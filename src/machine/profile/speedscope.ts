/**
 * A processor's samples in the format of speedscope.app, which draws them.
 * Reference: speedscope's file-format-schema.json, "sampled" profiles.
 */
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

/** How addresses are shown. */
export interface SpeedscopeOptions {
  /** Name of what was sampled. */
  readonly name?: string
  /** Name of the function that an address lies in, where it is known. */
  readonly symbol?: (address: number) => string | undefined
}

const hex = (address: number): string => `0x${BigInt.asUintN(64, BigInt(address)).toString(16)}`

/** Each sample as its function, below it the address, below that how it was executed. */
export function speedscopeProfile(profile: ProcessorProfile, { name = 'processor', symbol = () => undefined }: SpeedscopeOptions = {}): SpeedscopeFile {
  const frames: { name: string }[] = []
  const known = new Map<string, number>()
  const frame = (text: string): number => {
    const found = known.get(text)
    if (found !== undefined) return found
    known.set(text, frames.length)
    return frames.push({ name: text }) - 1
  }
  const samples: number[][] = []
  const weights: number[] = []
  for (const { address, interpreted, compiled } of profile.samples) {
    const where = address === -1 ? [frame('elsewhere')] : [frame(symbol(address) ?? '(unknown)'), frame(hex(address))]
    for (const [how, count] of [['interpreted', interpreted], ['compiled', compiled]] as const) {
      if (count === 0) continue
      samples.push([...where, frame(how)])
      weights.push(count * profile.slice)
    }
  }
  const endValue = weights.reduce((sum, weight) => sum + weight, 0)
  return {
    $schema: 'https://www.speedscope.app/file-format-schema.json', shared: { frames },
    profiles: [{ type: 'sampled', name, unit: 'none', startValue: 0, endValue, samples, weights }],
  }
}
