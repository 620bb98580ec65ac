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

/** The same for objects that come and go: what is remembered goes with them. */
export function onceFor<K extends object, V>(make: (key: K) => V): (key: K) => V {
  const known = new WeakMap<K, { readonly value: V }>()
  return (key) => {
    let entry = known.get(key)
    if (entry === undefined) known.set(key, entry = { value: make(key) })
    return entry.value
  }
}
