#!/bin/sh
# Builds the kernel and puts it where it is kept: mini.elf here, and as text in src/toolstack/image/embedded-kernel.ts.
# With --check nothing is written: the kernel is built elsewhere, and both copies are compared with the result.
# Another version of gcc may write other code; then --check says so and ends with status 77.
set -eu
cd "$(dirname "$0")"
COMPILER=12
EMBEDDED=../../../src/toolstack/image/embedded-kernel.ts

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

as_module() {
  cat <<'HEAD'
/**
 * The kernel that a domain gets when its configuration names none: examples/guests/mini, as its ELF image in base64.
 * Written by examples/guests/mini/build.sh, not by hand.
 */
const IMAGE = [
HEAD
  base64 -w 112 "$1" | sed "s/.*/  '&',/"
  cat <<'TAIL'
]

/** A fresh copy of the embedded kernel's ELF image. */
export function embeddedKernel(): Uint8Array {
  const text = atob(IMAGE.join(''))
  const image = new Uint8Array(text.length)
  for (let i = 0; i < image.length; i += 1) image[i] = text.charCodeAt(i)
  return image
}
TAIL
}

# What a loader sees of an image: the program headers and the bytes that they name.
loadable() {
  readelf -lW "$1" | sed -n '/Entry point/p; /Program Headers/,/^$/p'
  objcopy -O binary "$1" "$work/bytes"
  sha256sum <"$work/bytes"
}

if [ "${1:-}" = --check ]; then
  as_module mini.elf >"$work/module.ts"
  cmp "$work/module.ts" "$EMBEDDED" || { echo "$EMBEDDED is not what mini.elf says: run build.sh" >&2; exit 1; }
  found=$(gcc -dumpversion | cut -d. -f1)
  if [ "$found" != "$COMPILER" ]; then
    echo "gcc $found, not $COMPILER: the code cannot be compared" >&2
    exit 77
  fi
  make -s OUT="$work"
  loadable mini.elf >"$work/kept"
  loadable "$work/mini.elf" >"$work/built"
  diff "$work/kept" "$work/built" || { echo 'mini.elf is not what its source says: run build.sh' >&2; exit 1; }
  echo "mini.elf is what its source says"
else
  make -s OUT="$work"
  cp "$work/mini.elf" mini.elf
  chmod 644 mini.elf
  as_module mini.elf >"$EMBEDDED"
  echo "mini.elf: $(wc -c <mini.elf) bytes"
fi
