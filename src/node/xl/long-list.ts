/** `list -l` and `create -n`: configurations as xl prints them, in libxl's JSON. */
import { configToJson, parseDescription, type DomainConfig, type KernelSource } from '../../toolstack/index.ts'
import { find, type Session } from './session.ts'

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json }

/** As libxl's generator prints: four blanks a level, an empty line in what is empty. */
function print(value: Json, indent = ''): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const inner = `${indent}    `
  const items = Array.isArray(value)
    ? value.map((item: Json) => `${inner}${print(item, inner)}`) : Object.entries(value).map(([key, item]) => `${inner}"${key}": ${print(item as Json, inner)}`)
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}']
  return `${open}\n${items.join(',\n')}\n${indent}${close}`
}

const named = (source: unknown): string | undefined => (typeof source === 'string' ? source : undefined)

const jsonOf = (config: DomainConfig<KernelSource>): Record<string, Json> =>
  JSON.parse(configToJson(config, { kernel: named(config.kernel), ramdisk: named(config.ramdisk) })) as Record<string, Json>

/** Domains with their configurations as they are now. */
export async function listLong(session: Session, names: readonly string[]): Promise<void> {
  const { host, print: say } = session
  const guests = await Promise.all(names.length === 0 ? await host.domains() : names.map((name) => find(session, name)))
  const domains: Json[] = []
  if (names.length === 0) {
    const { current, limit } = await host.memory(0)
    const { parameters, scheduler } = await host.scheduling(0)
    domains.push({ domid: 0, config: {
      c_info: { type: 'pv', name: 'Domain-0' },
      b_info: {
        max_memkb: Math.round(limit * 1024), target_memkb: Math.round(current * 1024), sched_params: { sched: scheduler, ...parameters },
        'type.pv': {}, arch_arm: {}, arch_x86: {},
      },
    } })
  }
  for (const domain of guests) domains.push({ domid: domain.id, config: jsonOf(await domain.currentConfig()) })
  say(`${print(domains)}\n`)
}

/** What a file would make, without making it. */
export function printDryRun({ print: say }: Session, text: string, source: string): void {
  const { config } = parseDescription(text, { source })
  const json = jsonOf(config)
  // What libxl settles when it makes the domain is not there yet.
  const build = json['b_info'] as Record<string, Json>
  delete build['video_memkb']
  build['arch_x86'] = {}
  for (const device of [...(json['disks'] ?? []) as Json[], ...(json['nics'] ?? []) as Json[]]) {
    for (const key of ['nictype', 'colo_restore_enable']) delete (device as Record<string, Json>)[key]
  }
  say(`Parsing config from ${source}\n${print(json)}\n`)
}
