/**
 * Takes a disk specification apart as libxlu's scanner does: at each place the longest pattern wins, the first one among
 * equals, and what it does depends on what has been seen before. Whether the values make a disk is not asked here
 * (disk-specification.ts). Beyond libxlu, a fourth positional value of the old form is its back-end, as in 2005.
 * Reference: tools/libs/util/libxlu_disk_l.l.
 */

/** What a specification says, as texts; undefined where it says nothing. */
export interface ScannedDisk {
  target?: string
  format?: string
  vdev?: string
  access: 'r' | 'w'
  cdrom: boolean
  backend?: string
  /** The back-end as a fourth value, as xm of 2005 took it; xl refuses it. */
  fourthValue?: string
  backendType?: string
  script?: string
  specification?: string
  directIoSafe: boolean
  discard?: boolean
  trusted?: boolean
  /** Words about checkpointed streams, which mean nothing here. */
  readonly replication: string[]
}

/** Told where a specification is wrong; does not return. */
type Fault = (message: string) => never

const FORMATS = new Set(['raw', 'qcow', 'qcow2', 'vhd', 'qed', 'empty'])
const BACKEND_TYPES = new Set(['phy', 'tap', 'qdisk', 'standalone'])
const SPECIFICATIONS = new Set(['xen', 'virtio'])

/** Parameters with a value. */
const KEYS = [
  'format', 'devtype', 'access', 'backend', 'backendtype', 'specification', 'vdev', 'script',
  'colo-host', 'colo-port', 'colo-export', 'active-disk', 'hidden-disk',
] as const
/** Parameters without one. */
const FLAGS = ['cdrom', 'direct-io-safe', 'discard', 'no-discard', 'colo', 'no-colo', 'trusted', 'untrusted'] as const

/** Names of all parameters with a value. */
export const DISK_PARAMETERS: readonly string[] = [...KEYS, 'target']

interface Rule {
  readonly kind: 'blank' | 'key' | 'flag' | 'target' | 'unknown' | 'prefix' | 'badPrefix' | 'positional'
  /** The whole pattern decides who wins; only its first group, where it has one, is taken. */
  readonly pattern: RegExp
}

const RULES: readonly Rule[] = [
  { kind: 'blank', pattern: /([ \t\n]+)(?:[^ \t\n][^\n]*)?/y },
  { kind: 'key', pattern: new RegExp(`(?:${KEYS.join('|')})=[^,]*,?`, 'y') },
  { kind: 'flag', pattern: new RegExp(`(?:${FLAGS.join('|')}),?`, 'y') },
  { kind: 'target', pattern: /target=[^\n]*/y },
  { kind: 'unknown', pattern: /[a-z][-a-z0-9]*=[^,],?/y },
  { kind: 'prefix', pattern: /((?:raw|qcow2?|vhd|iscsi|e?nbd|drbd|tapdisk|tap2?|aio|ioemu|file|phy):)[^\n]*/y },
  { kind: 'badPrefix', pattern: /([a-z][a-z0-9]*:)(?:[^a-z0-9][^\n]*)?/y },
  { kind: 'positional', pattern: /[^=,]*,|[^=,]+/y },
]

const withoutComma = (text: string): string => (text.endsWith(',') ? text.slice(0, -1) : text)

/** Collects one specification. */
class Scanner {
  readonly disk: ScannedDisk = { access: 'w', cdrom: false, directIoSafe: false, replication: [] }
  private readonly fault: Fault
  private oldForm = false
  private accessGiven = false

  constructor(fault: Fault) {
    this.fault = fault
  }

  /** A text may be given twice only where the first one was empty. */
  private text(name: 'target' | 'vdev' | 'backend' | 'script', value: string): void {
    const before = this.disk[name]
    if (before !== undefined && before !== '') this.fault(`${name} is given twice`)
    this.disk[name] = value
  }

  /** One of several words may be given again as long as it is the same. */
  private word(name: 'format' | 'backendType' | 'specification', value: string, known: ReadonlySet<string>): void {
    if (!known.has(value)) {
      this.fault(`unknown value \`${value}\` for ${name.toLowerCase()} (${[...known].join(', ')})`)
    }
    const before = this.disk[name]
    if (before !== undefined && before !== value) this.fault(`${name.toLowerCase()} is given twice`)
    this.disk[name] = value
  }

  private format(value: string): void {
    this.word('format', value === '' ? 'raw' : value, FORMATS)
  }

  private access(value: string): void {
    if (value === 'r' || value === 'ro') this.disk.access = 'r'
    else if (value === '' || value === 'w' || value === 'rw') this.disk.access = 'w'
    else this.fault(`unknown value \`${value}\` for access (r, ro, w, rw)`)
  }

  private key(name: (typeof KEYS)[number], value: string): void {
    switch (name) {
      case 'format': return this.format(value)
      case 'access': return this.access(value)
      case 'backend': case 'vdev': case 'script': return this.text(name, value)
      case 'backendtype': return this.word('backendType', value, BACKEND_TYPES)
      case 'specification': return this.word('specification', value, SPECIFICATIONS)
      case 'devtype':
        if (value !== 'cdrom' && value !== 'disk') this.fault(`unknown value \`${value}\` for devtype (disk, cdrom)`)
        this.disk.cdrom = value === 'cdrom'
        return
      default: this.replicate(name, value)
    }
  }

  private replicate(name: string, value: string): void {
    if (name === 'colo-port' && !/^[ \t\n]*[+-]?0*[1-9]/.test(value)) this.fault(`\`${value}\` is not a port`)
    if (name !== 'colo-port' && this.disk.replication.includes(name)) this.fault(`${name} is given twice`)
    if (value !== '') this.disk.replication.push(name)
  }

  private flag(name: string): void {
    if (name === 'cdrom') this.disk.cdrom = true
    else if (name === 'direct-io-safe') this.disk.directIoSafe = true
    else if (name === 'discard' || name === 'no-discard') this.disk.discard = name === 'discard'
    else if (name === 'trusted' || name === 'untrusted') this.disk.trusted = name === 'trusted'
  }

  /** Prefixes of xend: a format, a block script, or a way of access that is no longer asked for. */
  private prefix(word: string): void {
    this.oldForm = true
    if (FORMATS.has(word)) this.format(word)
    else if (word === 'iscsi' || word.endsWith('nbd') || word === 'drbd') this.text('script', `block-${word}`)
  }

  /** `hdc:cdrom`; false for a name alone. */
  private deviceWithType(value: string): boolean {
    const colon = value.lastIndexOf(':')
    if (colon < 0) return false
    this.text('vdev', value.slice(0, colon))
    const type = value.slice(colon + 1)
    if (type !== 'cdrom' && type !== 'disk') this.fault(`unknown device type \`${type}\``)
    this.disk.cdrom = type === 'cdrom'
    return true
  }

  private positional(value: string): void {
    const { disk } = this
    if (disk.target === undefined) this.text('target', value)
    else if (!this.oldForm && disk.format === undefined) {
      // `,hdc:cdrom,r`: an empty drive in the old form, without a prefix by which to know it.
      if (disk.target === '' && this.deviceWithType(value)) disk.format = 'empty'
      else this.format(value)
    } else if (disk.vdev === undefined) {
      if (!this.deviceWithType(value)) this.text('vdev', value)
    } else if (!this.accessGiven) {
      this.accessGiven = true
      this.access(value)
    } else if (this.oldForm && value !== '' && disk.fourthValue === undefined) disk.fourthValue = value
    else this.fault(`\`${value}\` is one value too many`)
  }

  take(kind: Rule['kind'], text: string): void {
    const value = withoutComma(text)
    const equals = value.indexOf('=')
    if (kind === 'key') this.key(value.slice(0, equals) as (typeof KEYS)[number], value.slice(equals + 1))
    else if (kind === 'flag') this.flag(value)
    else if (kind === 'target') this.text('target', value.slice(equals + 1))
    else if (kind === 'prefix') this.prefix(text.slice(0, -1))
    else if (kind === 'badPrefix') this.fault(`unknown prefix \`${text}\``)
    else if (kind === 'unknown') this.fault(`unknown parameter \`${value.slice(0, equals)}\``)
    else if (kind === 'positional') this.positional(value)
  }
}

/** The rule that takes the text from `offset` on, and what it takes; undefined where none does. */
function longestMatch(text: string, offset: number): { readonly kind: Rule['kind']; readonly taken: string } | undefined {
  let longest = 0
  let best: { kind: Rule['kind']; taken: string } | undefined
  for (const { kind, pattern } of RULES) {
    pattern.lastIndex = offset
    const match = pattern.exec(text)
    if (match === null || match[0].length <= longest) continue
    longest = match[0].length
    best = { kind, taken: match[1] ?? match[0] }
  }
  return best
}

/** Takes a specification apart; `fault` throws. */
export function scanDisk(text: string, fault: Fault): ScannedDisk {
  const scanner = new Scanner(fault)
  for (let offset = 0; offset < text.length;) {
    const match = longestMatch(text, offset)
    if (match === undefined) {
      // libxlu forgets to complain about a last `=`.
      if (offset === text.length - 1) break
      const parameter = /[a-z][-a-z0-9]*$/.exec(text.slice(0, offset))?.[0]
      fault(parameter === undefined ? `\`${text.slice(offset)}\` has no meaning` : `unknown parameter \`${parameter}\``)
    }
    scanner.take(match.kind, match.taken)
    offset += match.taken.length
  }
  return scanner.disk
}
