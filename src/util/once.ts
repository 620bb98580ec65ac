/** Values that are made at first use and kept: only for what depends on nothing but the argument. */

/** Remembers the value of a function for each argument. */
export function once<K, V>(make: (key: K) => V): (key: K) => V {
  const known = new Map<K, V>()
  return (key) => {
    const value = known.get(key) ?? make(key)
    known.set(key, value)
    return value
  }
}
