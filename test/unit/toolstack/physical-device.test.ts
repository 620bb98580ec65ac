/** What Linux in a driver domain serves a disk from, by its name there. */
import { expect, test } from 'vitest'
import { physicalDevice } from '../../../src/toolstack/device-kinds/disk/physical-device.ts'
import { parseDisk } from '../../../src/toolstack/device-kinds/disk/disk-specification.ts'

const of = (target: string): string => physicalDevice(parseDisk(`vdev=xvda,backend=driver,target=${target}`))

test.each([
  ['/dev/loop0', '7:0'], ['loop12', '7:c'], ['ram1', '1:1'], ['xvdb', 'ca:10'], ['/dev/xvda2', 'ca:2'], ['sda', '8:0'], ['sdb1', '8:11'], ['hda', '3:0'], ['hdd3', '16:43'],
])('%s is %s', (target, number) => expect(of(target)).toBe(number))

test.each(['/images/a.img', '/dev/loop256', 'loop', 'loop-1', 'xvdzz', 'xvdq', 'vda', 'nvme0n1', '/dev/', '7:0', '../dev/loop0'])('%s has no number of its own', (target) => {
  expect(() => of(target)).toThrow(expect.objectContaining({ code: 'NOT_SUPPORTED' }) as Error)
})

test('a name that is none of any disk is refused as such', () => expect(() => of('sdz')).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }) as Error))
