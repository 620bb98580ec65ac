#!/bin/sh
# Builds the kernel for the types of guests that can start it without a name, and puts both where they are kept: mini.elf (PV) and
# mini-pvh.elf here, and as text in src/toolstack/image/embedded-kernel.ts.
# With --check nothing is written: the kernels are built elsewhere, and all copies are compared with the result.
# Another version of gcc may write other code; then --check says so and ends with status 77.
set -eu
cd "$(dirname "$0")"
COMPILER=12
EMBEDDED=../../../src/toolstack/image/embedded-kernel.ts

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

as_lines() {
  base64 -w 112 "$1" | sed "s/.*/  '&',/"
}

as_module() {
  cat <<'HEAD'
/**
 * The kernel that a domain gets when its configuration names none: examples/guests/mini, as its ELF images in base64, one for
 * each type of guests. Written by examples/guests/mini/build.sh, not by hand.
 */
import { checkArgument, oneOf } from '../../util/index.ts'
import type { GuestType } from '../config/option-values.ts'

const PV = [
HEAD
  as_lines "$1"
  printf ']\n\nconst PVH = [\n'
  as_lines "$2"
  cat <<'TAIL'
]

const IMAGES: Readonly<Record<GuestType, readonly string[]>> = { pv: PV, pvh: PVH }

/** A fresh copy of the embedded kernel's ELF image for a type of guests, `pv` unless said. */
export function embeddedKernel(type: GuestType = 'pv'): Uint8Array {
  checkArgument('the type of embeddedKernel', type, oneOf('pv', 'pvh'))
  const text = atob(IMAGES[type].join(''))
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

build() {
  mkdir "$work/$1"
  make -s KIND="$1" OUT="$work/$1"
}

if [ "${1:-}" = --check ]; then
  as_module mini.elf mini-pvh.elf >"$work/module.ts"
  cmp "$work/module.ts" "$EMBEDDED" || { echo "$EMBEDDED is not what the images say: run build.sh" >&2; exit 1; }
  found=$(gcc -dumpversion | cut -d. -f1)
  if [ "$found" != "$COMPILER" ]; then
    echo "gcc $found, not $COMPILER: the code cannot be compared" >&2
    exit 77
  fi
  for pair in pv64:mini.elf pvh:mini-pvh.elf; do
    build "${pair%%:*}"
    loadable "${pair#*:}" >"$work/kept"
    loadable "$work/${pair%%:*}/mini.elf" >"$work/built"
    diff "$work/kept" "$work/built" || { echo "${pair#*:} is not what its source says: run build.sh" >&2; exit 1; }
    echo "${pair#*:} is what its source says"
  done
else
  for pair in pv64:mini.elf pvh:mini-pvh.elf; do
    build "${pair%%:*}"
    cp "$work/${pair%%:*}/mini.elf" "${pair#*:}"
    chmod 644 "${pair#*:}"
    echo "${pair#*:}: $(wc -c <"${pair#*:}") bytes"
  done
  as_module mini.elf mini-pvh.elf >"$EMBEDDED"
fi
