/**
 * Kinds of values that an option of a domain may have: how one is checked as part of an object, how as part of a
 * description file, how it is written into one, and how the documentation calls it. Which options there are is in
 * option-table.ts.
 */
import * as z from 'zod/mini'
import { ACTIONS, RESTART_WORDS } from './actions.ts'
import { isCpuList } from './cpu-list.ts'
import { parseNumber } from './number.ts'

/** One kind of value: `T` as an object has it, `F` as a file has it. */
export interface ValueKind<T, F = T> {
  readonly object: z.ZodMiniType<T>
  readonly file: z.ZodMiniType<F>
  /** What may stand there, for the documentation. */
  readonly words: string
  /** What a file's syntax makes of it: nothing is added to a number with `+=`, and where a list belongs stands nothing else. */
  readonly syntax: 'text' | 'number' | 'list'
}

const mustBeText = /* @__PURE__ */ z.string({ error: 'must be a string' })
const mustBeTexts = /* @__PURE__ */ z.array(mustBeText, { error: 'must be a list of strings' })

const wholeNumber = (least: number, most: number) =>
  z.int({ error: ({ input }) => `must be a whole number, got ${JSON.stringify(input)}` }).check(
    z.minimum(least, { error: `must be at least ${least}` }), z.maximum(most, { error: `must be at most ${most}` }))

/** Any text. */
export const text: ValueKind<string> = { object: mustBeText, file: mustBeText, words: 'text', syntax: 'text' }

/** A text that a check has to pass as well; `ofObject` where it is asked of objects only. */
export const textThat = (check: z.ZodMiniType<string>, words: string, ofObject?: z.ZodMiniType<string>): ValueKind<string> =>
  ({ object: ofObject ?? check, file: check, words, syntax: 'text' })

/** Text of at least one character in objects; in files an empty text means none, as it does for xl. */
export const nonEmpty: ValueKind<string> = {
  object: /* @__PURE__ */ mustBeText.check(/* @__PURE__ */ z.minLength(1, { error: 'must not be empty' })), file: mustBeText, words: 'text', syntax: 'text',
}

/** A whole number in a range; whether it stands between quotes in a file does not matter, as it does not for xl. */
export const whole = (least: number, most: number): ValueKind<number> => ({
  object: wholeNumber(least, most),
  file: z.pipe(z.transform((value: unknown) => (typeof value === 'string' ? (parseNumber(value) ?? value) : value)), wholeNumber(least, most)),
  words: `${least} to ${most}`, syntax: 'number',
})

/** Pages of a MiB, and the fewest that a domain can do with. */
const PAGES = 256
const FEWEST_PAGES = 4

/** The least that a domain can have, in MiB. */
export const LEAST_MEMORY = FEWEST_PAGES / PAGES

/** MiB that a domain can have, which are no less than `mebibytes`: whole ones, or whole pages of the first. */
export const memoryFor = (mebibytes: number): number =>
  (mebibytes > 1 - 1 / PAGES ? Math.ceil(mebibytes) : Math.ceil(mebibytes * PAGES) / PAGES)

const isPartOfOne = (value: unknown): boolean =>
  typeof value === 'number' && value < 1 && value >= FEWEST_PAGES / PAGES && Number.isInteger(value * PAGES)

/** MiB: a whole number, as files have it; in objects also less than one, in whole pages, for guests that need no more. */
export const memoryAmount = (most: number): ValueKind<number> => {
  const { file, object, words } = whole(1, most)
  return {
    file, words: `${words}; in objects also pages: multiples of 1/${PAGES} from 1/${PAGES / FEWEST_PAGES} on`, syntax: 'number',
    object: z.union([z.custom<number>(isPartOfOne), object], {
      error: ({ input }) => `${object.safeParse(input).error?.issues[0]?.message ?? ''}; below 1 a multiple of 1/${PAGES} from 1/${PAGES / FEWEST_PAGES} on`,
    }),
  }
}

/** One of some words. */
export const oneOf = <const W extends string>(words: readonly W[], shown = `must be one of ${words.join(', ')}`): ValueKind<W> => {
  const schema = z.enum(words, { error: shown })
  return { object: schema, file: schema, words: words.map((word) => `\`${word}\``).join(', '), syntax: 'text' }
}

/** A list of strings. */
export const texts: ValueKind<string[]> = { object: mustBeTexts, file: mustBeTexts, words: 'list of texts', syntax: 'list' }

/** A list of strings, in files also one string of words. */
export const words: ValueKind<string[]> = {
  object: mustBeTexts,
  file: /* @__PURE__ */ z.pipe(/* @__PURE__ */ z.transform(
    (value: unknown) => (typeof value === 'string' ? value.split(/[ \t\n]+/).filter((word) => word !== '') : value)), mustBeTexts),
  words: 'list of texts, or words in one text', syntax: 'text',
}

/** A list of specifications of devices, which `title` calls one of: as text, in objects as objects too. */
export const specifications = (title: string): ValueKind<(string | object)[], string[]> => ({
  object: z.array(
    z.custom<string | object>((v) => typeof v === 'string' || (typeof v === 'object' && v !== null), {
      error: `must be a text or an object for each ${title}`,
    }), { error: `must be a list: a text or an object for each ${title}` }),
  file: mustBeTexts, words: 'list of specifications', syntax: 'list',
})

/** A file's bytes, or the name under which the host's file source knows it. */
export type FileSource = string | Uint8Array

/** Files by name, in objects by their bytes as well. */
export interface FileSourceKind extends ValueKind<FileSource, string> {}

/** A file: its name, in objects its bytes as well. */
export const fileSource: FileSourceKind = {
  object: /* @__PURE__ */ z.union([mustBeText.check(/* @__PURE__ */ z.minLength(1)), z.instanceof(Uint8Array)], { error: 'must be a path or bytes' }),
  file: mustBeText, words: 'name of a file, or bytes', syntax: 'text',
}

/** Whatever a caller's host knows as a kernel. */
export const kernelSource: ValueKind<unknown, string> = {
  object: /* @__PURE__ */ z.unknown(), file: mustBeText, words: 'name of a file, or bytes', syntax: 'text',
}

const action = /* @__PURE__ */ z.enum(ACTIONS, { error: `must be one of ${ACTIONS.join(', ')}` })

/** Types of guests that a domain may be of. */
export const GUEST_TYPES = ['pv', 'pvh'] as const
/** A type of guests. */
export type GuestType = (typeof GUEST_TYPES)[number]

/** What a guest of another type is told. */
const otherType = ({ input }: { readonly input?: unknown }): string => (input === 'hvm'
  ? 'must be "pv" or "pvh": a guest of type "hvm" needs a device model, which this host has not; most of their kernels start as "pvh"'
  : 'must be "pv" or "pvh"')
const guestTypes = /* @__PURE__ */ z.enum(GUEST_TYPES, { error: otherType })

/** The type of a guest. */
export const guestType: ValueKind<GuestType> = { object: guestTypes, file: guestTypes, words: '`pv`, `pvh`', syntax: 'text' }

/** What is done with a domain that has ended; files may spell it with underscores. */
export const actionValue: ValueKind<(typeof ACTIONS)[number]> = {
  object: action,
  file: /* @__PURE__ */ z.pipe(
    /* @__PURE__ */ z.transform((value: unknown) => (typeof value === 'string' ? value.replaceAll('_', '-') : value)), action),
  words: /* @__PURE__ */ ACTIONS.map((word) => `\`${word}\``).join(', '), syntax: 'text',
}

/** How a domain may see the time-stamp counter, in libxl's words and order. */
export const TSC_MODES = ['default', 'always_emulate', 'native'] as const satisfies readonly TscMode[]
/** One of them. */
export type TscMode = 'default' | 'always_emulate' | 'native'

/** libxl's word for the way that Xen no longer has. */
const REMOVED_TSC_MODE = 'native_paravirt'
const tscModes = /* @__PURE__ */ z.enum(TSC_MODES, {
  error: ({ input }) => (input === REMOVED_TSC_MODE ? `${REMOVED_TSC_MODE} is no longer there in Xen; there are ${TSC_MODES.join(', ')}` : `must be one of ${TSC_MODES.join(', ')}`),
})

/** How a domain sees the time-stamp counter; files may also have libxl's number of it, as they did at first. */
export const tscMode: ValueKind<TscMode> = {
  object: tscModes,
  file: /* @__PURE__ */ z.pipe(/* @__PURE__ */ z.transform((value: unknown) => {
    const number = typeof value === 'string' ? parseNumber(value) : undefined
    return number === undefined ? value : [...TSC_MODES, REMOVED_TSC_MODE][number] ?? value
  }), tscModes),
  words: /* @__PURE__ */ TSC_MODES.map((word) => `\`${word}\``).join(', '), syntax: 'text',
}

const mustBeSwitch = /* @__PURE__ */ z.boolean({ error: 'must be true or false' })

/** On or off; a number in files, as everything that is not 0 means on there. */
export const switched: ValueKind<boolean> = {
  object: mustBeSwitch,
  file: /* @__PURE__ */ z.pipe(/* @__PURE__ */ z.transform((value: unknown) => {
    const number = typeof value === 'string' ? parseNumber(value) : value
    return typeof number === 'number' ? number !== 0 : value
  }), /* @__PURE__ */ z.boolean({ error: 'must be a whole number: 0 for off, others for on' })),
  words: '0 or 1; `true` or `false` in objects', syntax: 'number',
}

const cpuList = /* @__PURE__ */ z.string().check(/* @__PURE__ */ z.refine(isCpuList))
const cpuLists = /* @__PURE__ */ z.union([cpuList, /* @__PURE__ */ z.array(cpuList).check(/* @__PURE__ */ z.maxLength(128))], {
  error: 'must be a list of CPUs such as "all" or "0-3,5,^1", or one for each vCPU',
})

/** Physical CPUs: a text for all vCPUs, or a list with a text for each. */
export const cpus: ValueKind<string | string[]> = {
  object: cpuLists, file: cpuLists, words: 'CPUs as `0-3,^1`, or a list of such, one for each vCPU', syntax: 'text',
}

/** The word that stood for three actions in 2005. */
export const restartWord = /* @__PURE__ */ oneOf(RESTART_WORDS)
