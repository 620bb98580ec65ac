/** Everything that hangs from an object, as plain values by path: for tests that hold one object against another. */

/**
 * Private fields, maps, sets and typed arrays are among it; functions are not, and neither is what hangs from a field with
 * one of the names `without`. An object that is met again is left out.
 */
export function flatten(value: unknown, without: ReadonlySet<string>, path = ''): Record<string, unknown> {
  const out: Record<string, unknown> = {}
  visit(value, path, { without, out, seen: new Set() })
  return out
}

function visit(
  value: unknown, path: string,
  how: { readonly without: ReadonlySet<string>; readonly out: Record<string, unknown>; readonly seen: Set<object> },
): void {
  if (typeof value === 'function') return
  if (typeof value !== 'object' || value === null) {
    how.out[path] = value
    return
  }
  if (how.seen.has(value)) return
  how.seen.add(value)
  if (ArrayBuffer.isView(value)) {
    how.out[path] = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')
    return
  }
  const entries = value instanceof Map ? [...value]
    : value instanceof Set ? [...value].map((one, i) => [i, one] as const) : Object.entries(value)
  for (const [key, one] of entries) if (!how.without.has(String(key))) visit(one, `${path}.${String(key)}`, how)
}
