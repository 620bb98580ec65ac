/** What Linux as dom0 has in its disk: Debian's packages by name. Nothing is read here; dom0-image.ts makes the disk. */

/** Packages of Debian's, with which of their files go into the disk: a folder of each is a folder of the disk. */
export const DOM0_PARTS: Readonly<Record<string, RegExp>> = {
  'busybox-static': /^usr\/bin\/busybox$/, bash: /^usr\/bin\/bash$/,
  libc6: /^usr\/(?:lib64\/|lib\/x86_64-linux-gnu\/(?:ld|libc|libm|libdl|libpthread|librt|libutil|libresolv|libnss_files)[.-])/,
  'xen-utils-4.17': /^usr\/lib\/xen-4\.17\/(?:bin\/(?!oxenstored|test-|flask-)|lib\/)/,
  'xen-utils-common': /^(?:etc\/xen\/|usr\/lib\/xen-common\/|usr\/sbin\/xenhypfs$)/,
  'xenstore-utils': /^usr\/bin\//,
  // What the scripts of xen-utils-common want, and BusyBox has not or has otherwise.
  'util-linux': /^usr\/bin\/flock$/, mount: /^usr\/sbin\/losetup$/,
  'python3.11-minimal': /^usr\/bin\/python3/, 'libpython3.11-minimal': /^usr\/lib\/python3/,
  ...Object.fromEntries([
    'libgcc-s1', 'libtinfo6', 'libncurses6', 'libxencall1', 'libxendevicemodel1', 'libxenevtchn1', 'libxenforeignmemory1', 'libxengnttab1',
    'libxenhypfs1', 'libxenmisc4.17', 'libxenstore4', 'libxentoolcore1', 'libxentoollog1', 'libyajl2', 'libfdt1', 'libuuid1', 'zlib1g',
    'liblzma5', 'libzstd1', 'libexpat1', 'libsmartcols1', 'libext2fs2', 'libcom-err2',
  ].map((name) => [name, /^usr\/lib\/x86_64-linux-gnu\/[^/]*\.so/])),
}

/** Packages that the disk takes files from, beside the kernel's. */
export const DOM0_PACKAGES: readonly string[] = Object.keys(DOM0_PARTS)
