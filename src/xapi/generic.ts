/** Calls that every class has: records, fields, lists and maps of an object. */
import { XapiFailure, type Database, type XapiRecord, type XapiValue } from './database.ts'

/** Fields that no client writes. */
const READ_ONLY: ReadonlySet<string> = new Set(['uuid', 'power_state', 'resident_on', 'domid', 'VBDs', 'VIFs', 'currently_attached', 'status', 'progress', 'result'])

/** Carries out `CLASS.get_record` and the like. Throws MESSAGE_METHOD_UNKNOWN, HANDLE_INVALID. */
export function genericCall(database: Database, name: string, given: readonly unknown[]): XapiValue {
  const [type = '', method = ''] = name.split('.')
  const unknown = (): XapiFailure => new XapiFailure('MESSAGE_METHOD_UNKNOWN', name)
  if (!database.classes.includes(type)) throw unknown()
  const all = database.all(type)
  switch (method) {
    case 'get_all': return [...all.keys()]
    case 'get_all_records': return Object.fromEntries(all)
    case 'get_by_name_label': return [...all].filter(([, { name_label: label }]) => label === given[0]).map(([ref]) => ref)
    case 'get_by_uuid': {
      const found = [...all].find(([, { uuid }]) => uuid === given[0])
      if (found === undefined) throw new XapiFailure('UUID_INVALID', type, String(given[0]))
      return found[0]
    }
    default:
  }
  const [, verb, field = ''] = /^(get|set|add_to|remove_from|add|remove)_(.+)$/.exec(method) ?? []
  if (verb === undefined) throw unknown()
  const ref = String(given[0])
  const own = database.get(type, ref)
  if (method === 'get_record') return { ...own }
  if (!Object.hasOwn(own, field)) throw unknown()
  if (verb === 'get') return own[field]!
  if (READ_ONLY.has(field)) throw unknown()
  return change(database, { type, ref, field, verb }, given.slice(1))
}

function change(
  database: Database, { type, ref, field, verb }: { readonly type: string; readonly ref: string; readonly field: string; readonly verb: string }, [one, other]: readonly unknown[],
): XapiValue {
  const now = database.get(type, ref)[field]!
  const [list, map] = [Array.isArray(now) ? now as readonly XapiValue[] : [], now as XapiRecord]
  const key = String(one)
  if (verb === 'add_to' && Object.hasOwn(map, key)) throw new XapiFailure('MAP_DUPLICATE_KEY', type, field, ref, key)
  const value: XapiValue = verb === 'add_to' ? { ...map, [key]: other as XapiValue }
    : verb === 'remove_from' ? Object.fromEntries(Object.entries(map).filter(([name]) => name !== key))
    : verb === 'add' ? [...list.filter((item) => item !== one), one as XapiValue]
    : verb === 'remove' ? list.filter((item) => item !== one) : one as XapiValue
  database.change(type, ref, { [field]: value })
  return ''
}
