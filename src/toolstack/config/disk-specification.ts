/**
 * Disk specifications: xl's `target,format,vdev,access,key=value...` and xend's older `file:/path,sda1,w`.
 * Reference: xl-disk-configuration(5).
 */
import { nearestWord, XenError } from '../../util/index.ts'
import { parseVirtualDevice, type VirtualDevice } from './vdev.ts'

/** Format of what a disk's target holds. */
export type DiskFormat = 'raw' | 'qcow' | 'qcow2' | 'vhd' | 'qed'

/** One virtual disk. */
export interface DiskConfig {
  /** File, device or name that the block script understands; undefined for an empty CD drive. */
  readonly target?: string
  readonly format: DiskFormat
  readonly vdev: VirtualDevice
  readonly access: 'r' | 'w'
  readonly type: 'disk' | 'cdrom'
  /** Domain that serves the disk. */
  readonly backend: string
  readonly backendType?: 'phy' | 'qdisk' | 'standalone' | 'tap'
  readonly script?: string
  readonly directIoSafe: boolean
  readonly discard: boolean
  /** True when the guest trusts its back-end. */
  readonly trusted: boolean
}

/** The fields while they are collected. */
type Draft = { -readonly [K in keyof DiskConfig]?: DiskConfig[K] }

const FORMATS: Readonly<Record<string, DiskFormat>> = {
  raw: 'raw', qcow: 'qcow', qcow2: 'qcow2', vhd: 'vhd', qed: 'qed',
}
const ACCESS: Readonly<Record<string, 'r' | 'w'>> = { r: 'r', ro: 'r', w: 'w', rw: 'w' }
const BACKEND_TYPES: Readonly<Record<string, NonNullable<DiskConfig['backendType']>>> = {
  phy: 'phy', qdisk: 'qdisk', standalone: 'standalone', tap: 'tap',
}
/** Prefixes of xend that say how, not what: stripped and without effect. */
const STRIPPED = new Set(['file', 'phy', 'tap', 'tap2', 'aio', 'ioemu', 'tapdisk'])
/** Prefixes of xend that name a block script. */
const SCRIPTED = new Set(['iscsi', 'nbd', 'enbd', 'drbd'])

/** Collects one specification and reports faults with its text. */
class DiskParser {
  private readonly text: string
  private readonly draft: Draft = {}
  private readonly seen = new Set<string>()
  private oldForm = false

  constructor(text: string) {
    this.text = text
  }

  private fault(message: string): XenError {
    return new XenError('INVALID_CONFIG', `disk \`${this.text}\`: ${message}`, { details: { disk: this.text } })
  }

  private choice<T>(name: string, table: Readonly<Record<string, T>>, value: string): T {
    const chosen = Object.hasOwn(table, value) ? table[value] : undefined
    if (chosen !== undefined) return chosen
    throw this.fault(`unknown value \`${value}\` for ${name} (${Object.keys(table).join(', ')})`)
  }

  /** Sets a field once. */
  private set<K extends keyof Draft>(name: K, value: NonNullable<Draft[K]>): void {
    if (this.seen.has(name)) throw this.fault(`${name} is given twice`)
    this.seen.add(name)
    this.draft[name] = value as Draft[K]
  }

  /** Handles the prefixes of the old form; the rest of the text starts with the target. */
  private prefix(text: string): string {
    let rest = text
    for (;;) {
      const word = /^([a-z][a-z0-9]*):(?!\/\/)/.exec(rest)?.[1]
      if (word === undefined) return rest
      if (Object.hasOwn(FORMATS, word)) this.set('format', FORMATS[word]!)
      else if (SCRIPTED.has(word)) this.set('script', `block-${word}`)
      else if (!STRIPPED.has(word)) throw this.fault(`unknown prefix \`${word}:\``)
      this.oldForm = true
      rest = rest.slice(word.length + 1)
    }
  }

  private device(value: string): void {
    const [name = '', type, more] = value.split(':')
    if (more !== undefined) throw this.fault(`\`${value}\` is not a virtual device`)
    this.set('vdev', parseVirtualDevice(name))
    if (type === undefined) return
    if (type !== 'cdrom' && type !== 'disk') throw this.fault(`unknown device type \`${type}\``)
    this.oldForm = true
    this.set('type', type)
  }

  private positional(index: number, value: string): void {
    // `,hdc:cdrom,r`: a device with its type where a format would stand is the old form without a prefix.
    if (index === 1 && value.includes(':')) this.oldForm = true
    const names = this.oldForm
      ? ['target', 'vdev', 'access', 'backend'] as const
      : ['target', 'format', 'vdev', 'access'] as const
    const name = names[index]
    if (name === undefined) throw this.fault(`\`${value}\` is one value too many`)
    if (value === '') return
    if (name === 'target') this.set('target', value)
    else if (name === 'format') this.set('format', this.choice('format', FORMATS, value))
    else if (name === 'vdev') this.device(value)
    else if (name === 'access') this.set('access', this.choice('access', ACCESS, value))
    else this.set('backend', value)
  }

  private keyed(key: string, value: string): void {
    const setters: Readonly<Record<string, () => void>> = {
      format: () => this.set('format', this.choice('format', FORMATS, value)),
      vdev: () => this.device(value),
      access: () => this.set('access', this.choice('access', ACCESS, value)),
      devtype: () => this.set('type', this.choice('devtype', { disk: 'disk', cdrom: 'cdrom' } as const, value)),
      backend: () => this.set('backend', value),
      backendtype: () => this.set('backendType', this.choice('backendtype', BACKEND_TYPES, value)),
      script: () => this.set('script', value),
      specification: () => {
        if (value !== 'xen') throw this.fault(`specification \`${value}\` is not supported, only \`xen\` is`)
      },
    }
    const setter = Object.hasOwn(setters, key) ? setters[key] : undefined
    if (setter !== undefined) return setter()
    const nearest = nearestWord(key, [...Object.keys(setters), 'target'])
    throw this.fault(`unknown parameter \`${key}\`${nearest === undefined ? '' : `; did you mean \`${nearest}\`?`}`)
  }

  private flag(word: string): boolean {
    const flags: Readonly<Record<string, () => void>> = {
      cdrom: () => this.set('type', 'cdrom'),
      'direct-io-safe': () => this.set('directIoSafe', true),
      discard: () => this.set('discard', true),
      'no-discard': () => this.set('discard', false),
      trusted: () => this.set('trusted', true),
      untrusted: () => this.set('trusted', false),
    }
    if (!Object.hasOwn(flags, word)) return false
    flags[word]!()
    return true
  }

  /** Splits at commas; `target=` takes the rest of the text, commas included. */
  private collect(): void {
    let rest = this.prefix(this.text.trim())
    let index = 0
    while (rest !== '') {
      const target = /^\s*target=(.*)$/s.exec(rest)
      if (target !== null) return this.set('target', this.prefix(target[1]!))
      const comma = rest.indexOf(',')
      const part = (comma < 0 ? rest : rest.slice(0, comma)).trim()
      rest = comma < 0 ? '' : rest.slice(comma + 1)
      const equals = part.indexOf('=')
      if (equals >= 0) this.keyed(part.slice(0, equals).trim(), part.slice(equals + 1).trim())
      else if (!this.flag(part)) {
        this.positional(index, part)
        index += 1
      }
    }
  }

  parse(): DiskConfig {
    if (this.text.trim() === '') throw this.fault('it is empty')
    this.collect()
    const { vdev, ...rest } = this.draft
    if (vdev === undefined) throw this.fault('the virtual device (vdev) is missing')
    const type = rest.type ?? 'disk'
    if (rest.target === undefined && type !== 'cdrom') throw this.fault('the target is missing')
    if (type === 'cdrom' && rest.access === 'w') throw this.fault('a CD is read-only')
    return {
      ...rest, vdev, type,
      format: rest.format ?? 'raw',
      access: rest.access ?? (type === 'cdrom' ? 'r' : 'w'),
      backend: rest.backend ?? '0',
      directIoSafe: rest.directIoSafe ?? false,
      discard: rest.discard ?? true,
      trusted: rest.trusted ?? true,
    }
  }
}

/** Parses one disk specification in either spelling. Throws INVALID_CONFIG naming the specification. */
export function parseDisk(text: string): DiskConfig {
  return new DiskParser(text).parse()
}
