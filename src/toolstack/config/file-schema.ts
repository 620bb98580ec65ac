/**
 * The options of description files that have an effect, with their types and ranges, in both spellings.
 * Not here: defaults and cross-checks of the domain itself (domain-config.ts).
 * Reference: xl.cfg(5); for the old spelling xmdomain.cfg(5).
 */
import * as z from 'zod'
import { ACTIONS, RESTART_WORDS } from './actions.ts'
import { INEFFECTIVE_OPTIONS } from './option-names.ts'

const text = /* @__PURE__ */ z.string({ error: 'must be a string' })

/** A whole number in a range; a string of digits counts, as it does for xl. */
const whole = (least: number, most: number) =>
  z.preprocess(
    (value) => (typeof value === 'string' && /^(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(value) ? Number(value) : value),
    z.int({ error: 'must be a whole number' })
      .min(least, { error: `must be at least ${least}` })
      .max(most, { error: `must be at most ${most}` }),
  )

/** A list of strings. */
const texts = /* @__PURE__ */ z.array(text, { error: 'must be a list of strings' })

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
  nics: z.preprocess((value) => value, z.int({ error: 'must be a whole number' })
    .min(-1, { error: 'must be at least -1' }).max(8, { error: 'must be at most 8' })),
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

/** Names of all options that a file may use. */
export const OPTION_NAMES: readonly string[] = /* @__PURE__ */ [
  ...Object.keys(effective),
  ...INEFFECTIVE_OPTIONS.keys(),
]

/** A description file's values by option, unknown options refused. */
export const FileSchema = /* @__PURE__ */ z.strictObject(effective).partial()

/** What a file that passes {@link FileSchema} says. */
export type FileValues = z.infer<typeof FileSchema>
