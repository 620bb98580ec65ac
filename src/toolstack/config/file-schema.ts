/**
 * The options of description files that have an effect, with their types and ranges, in both spellings.
 * Not here: defaults and cross-checks of the domain itself (domain-config.ts).
 * Reference: xl.cfg(5); for the old spelling xmdomain.cfg(5).
 */
import * as z from 'zod'
import { ACTIONS, RESTART_WORDS } from './actions.ts'
import { parseNumber } from './number.ts'
import { INEFFECTIVE_OPTIONS } from './option-names.ts'

const text = /* @__PURE__ */ z.string({ error: 'must be a string' })

/** A whole number in a range; whether it stands between quotes does not matter, as it does not for xl. */
const whole = (least: number, most: number) =>
  z.preprocess(
    (value) => (typeof value === 'string' ? (parseNumber(value) ?? value) : value),
    z.int({ error: ({ input }) => `must be a whole number, got ${JSON.stringify(input)}` })
      .min(least, { error: `must be at least ${least}` })
      .max(most, { error: `must be at most ${most}` }),
  )

/** A list of strings. */
const texts = /* @__PURE__ */ z.array(text, { error: 'must be a list of strings' })

/** A list of strings, or one string of words. */
const wordList = /* @__PURE__ */ z.preprocess(
  (value) => (typeof value === 'string' ? value.split(/[ \t\n]+/).filter((word) => word !== '') : value),
  texts,
)

const action = /* @__PURE__ */ z.preprocess(
  (value) => (typeof value === 'string' ? value.replaceAll('_', '-') : value),
  z.enum(ACTIONS, { error: `must be one of ${ACTIONS.join(', ')}` }),
)

/** Largest memory of a host in MiB: one WebAssembly memory. */
const MAX_MEBIBYTES = 4096
/** vCPUs whose record fits into shared_info, plus those registered by VCPUOP_register_vcpu_info. */
const MAX_VCPUS = 128

const effective = {
  name: text.min(1, { error: 'must not be empty' }),
  type: z.enum(['pv', 'pvh', 'hvm'], { error: 'must be "pv", "pvh" or "hvm"' }),
  builder: z.enum(['generic', 'linux', 'hvm', 'vmx'], { error: 'must be "generic", "linux" or "hvm"' }),
  uuid: text.regex(/^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/, { error: 'is not a UUID' }),
  kernel: text,
  ramdisk: text,
  bootloader: text,
  bootloader_args: wordList,
  firmware: text,
  memory: whole(1, MAX_MEBIBYTES),
  maxmem: whole(1, MAX_MEBIBYTES),
  vcpus: whole(1, MAX_VCPUS),
  maxvcpus: whole(1, MAX_VCPUS),
  max_event_channels: whole(1, 131071),
  max_grant_frames: whole(1, 1024),
  root: text,
  extra: text,
  cmdline: text,
  disk: texts,
  vif: texts,
  on_poweroff: action,
  on_reboot: action,
  on_crash: action,
  on_watchdog: action,
  on_soft_reset: action,
  // xm of 2005 only
  bootargs: wordList,
  nics: whole(-1, 8),
  restart: z.enum(RESTART_WORDS, { error: `must be one of ${RESTART_WORDS.join(', ')}` }),
  dhcp: text,
  ip: text,
  gateway: text,
  netmask: text,
  hostname: text,
  interface: text,
  nfs_server: text,
  nfs_root: text,
}

/** Options that have an effect. */
export const EFFECTIVE_OPTIONS: ReadonlySet<string> = /* @__PURE__ */ new Set(Object.keys(effective))

/** Options that take a number: nothing is added to one with `+=`. */
export const NUMBER_OPTIONS: ReadonlySet<string> = /* @__PURE__ */ new Set(
  'memory maxmem vcpus maxvcpus max_event_channels max_grant_frames nics'.split(' '),
)

/** Options that take a list and nothing else. */
export const LIST_OPTIONS: ReadonlySet<string> = /* @__PURE__ */ new Set(['disk', 'vif'])

/** Names of all options that a file may use. */
export const OPTION_NAMES: readonly string[] = /* @__PURE__ */ [...EFFECTIVE_OPTIONS, ...INEFFECTIVE_OPTIONS.keys()]

/** A description file's values by option; unknown options are sorted out before. */
export const FileSchema = /* @__PURE__ */ z.strictObject(effective).partial()

/** What a file that passes {@link FileSchema} says. */
export type FileValues = z.infer<typeof FileSchema>
