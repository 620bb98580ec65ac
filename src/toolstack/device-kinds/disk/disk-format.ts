/** Disks as specifications, what parseDisk reads. Reference: xl-disk-configuration(5). */
import { cannotStand, parameters, unless } from '../parameters.ts'
import type { DiskConfig } from './disk-specification.ts'

/** A disk as a specification. Its target comes last: it may hold anything. */
export function formatDisk(disk: DiskConfig): string {
  const { format, vdev, access, backendType, backend, script, target } = disk
  if (target?.includes('\n') === true) throw cannotStand('disks', `the target ${JSON.stringify(target)} has a line end`)
  const flags: readonly (readonly [string, boolean])[] = [
    ['cdrom', disk.type === 'cdrom'], ['direct-io-safe', disk.directIoSafe], ['no-discard', !disk.discard], ['untrusted', !disk.trusted],
  ]
  return [
    ...parameters('disks', [
      ['format', format], ['vdev', vdev.name], ['access', access === 'w' ? 'rw' : 'ro'], ['backendtype', backendType],
      ['backend', unless(backend, '0')], ['script', script],
    ]),
    ...flags.flatMap(([word, isSet]) => (isSet ? [word] : [])),
    ...(target === undefined ? [] : [`target=${target}`]),
  ].join(',')
}
