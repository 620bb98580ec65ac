import { expect, test } from 'vitest'
import { callText, valueOf } from '../../../src/debug/system-calls/call-text.ts'

const memory = new TextEncoder().encode('/etc/passwd\0rest')
const read = (address: bigint, length: number): Uint8Array => (address === 0x1000n ? memory.slice(0, length) : new Uint8Array(0))

test.each<[string, bigint, unknown]>([
  ['const char *', 0x1000n, '/etc/passwd'], ['const char *', 0x2000n, 0x2000n], ['const char *', 0n, 0n], ['char *', 0x1000n, 0x1000n],
  ['int', 0xffff_ff9cn, -100], ['int', 0x1_0000_0003n, 3], ['unsigned int', 0xffff_ffff_ffff_ffffn, 0xffff_ffff], ['umode_t', 0x1_01a4n, 0o644], ['long', (1n << 64n) - 1n, -1n], ['size_t', 4096n, 4096n],
])('an argument of type %s and value %d is %s', (type, raw, value) => expect(valueOf(type, raw, read)).toBe(value))

test('a call is written as strace writes it: texts cut and escaped, errors by name, addresses in hexadecimal', () => {
  const given = [{ name: 'dfd', type: 'int', value: -100 }, { name: 'filename', type: 'const char *', value: 'a "b"\n' }, { name: 'flags', type: 'int', value: 0 }]
  expect(callText('openat', given, -2n)).toBe('openat(dfd=-100, filename="a \\"b\\"\\n", flags=0) = -1 ENOENT')
  expect(callText('write', [{ name: 'buf', type: 'const char *', value: 'x'.repeat(40) }, { name: 'count', type: 'size_t', value: 40n }], 40n)).toBe(`write(buf="${'x'.repeat(32)}"..., count=40) = 40`)
  expect(callText('mmap', [{ name: 'addr', type: 'unsigned long', value: 0n }], 0x7f00_0000_1000n)).toBe('mmap(addr=0) = 0x7f0000001000')
  expect(callText('ioctl', [], -25n)).toBe('ioctl() = -1 ENOTTY')
  expect(callText('read', [], -11n)).toBe('read() = -1 EAGAIN')
  expect(callText('exit_group', [{ name: 'error_code', type: 'int', value: 3 }], undefined)).toBe('exit_group(error_code=3) = ?')
})
