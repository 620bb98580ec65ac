/** A guest's boot loader files are read as by pygrub's own readers: a table, and random files. */
import { describe, expect, test } from 'vitest'
import { readExtLinux, readGrub2, readLegacy } from '../../../../src/toolstack/bootloader/boot-configs.ts'
import { SeededRandom, XenError } from '../../../../src/util/index.ts'
import { generateGrubCfg } from '../../../support/grub-files.ts'
import { whyMissing } from '../../../support/guests.ts'
import { readByPygrub, whyNoPygrub, type ConfigText, type ReadConfig } from '../../../support/pygrub.ts'

const READERS = { grub2: readGrub2, legacy: readLegacy, extlinux: readExtLinux }

function ours({ kind, text }: ConfigText): ReadConfig {
  try {
    const { images, chosen } = READERS[kind](text)
    return { images: images.map(({ title, kernel, args, ramdisk }) => [title, kernel ?? null, args ?? null, ramdisk ?? null]), chosen }
  } catch (error) {
    if (!XenError.is(error, 'INVALID_CONFIG')) throw error
    return undefined
  }
}

const TABLE: readonly ConfigText[] = [
  ...[
    "menuentry 'A' {\n linux /vmlinuz ro root=/dev/sda1\n initrd /initrd\n}\n", "menuentry 'A' --class x --id 'y' {\nlinux16 /k\ninitrd16 /i\n}\n", 'menuentry "A" {\n}\n', 'menuentry A {\n linux /k\n}\n',
    "menuentry 'A'{\n linux /k\n}\n", "menuentry 'A' { linux /k\n}\n", "menuentry 'A\" b' {\nlinux /k a=b c\n}\n", "set default=1\nset timeout=5\n", 'set default="2"\n', "set default='3'\n", 'set default=${saved_entry}\n',
    'set default="${next_entry}"\n', 'set default="1>2"\n', 'set default=-1\n', 'set default=x\n', 'set default= 4\n', 'set default = 5\n', 'set\n', 'set x\n', 'set x=\n', 'default=7\n', 'if [ x ]; then\nset default=9\nfi\n',
    "submenu 'S' {\nmenuentry 'A' {\nlinux /k\n}\n}\n", '}\n', "menuentry 'A' {\nmenuentry 'B' {\n}\n}\n", "menuentry 'A' {\nlinux /k\n", "function f {\nlinux /x\nset default=3\n}\nmenuentry 'A' {\n linux\t/k\ta b\n}\n",
    "menuentry 'A' {\nset root='hd0,msdos1'\nlinux /k\n}\n", "menuentry 'A' {\nset root='(hd0,gpt2)'\nlinux (hd0,1)/k x=y\n}\n", "menuentry 'A' {\nset root=nothing\nlinux /k\n}\n", "menuentry 'A' {\nset root='hd0,msdosx'\n}\n", "set root=(hd0\n", "set root='hd0,1,2'\n",
    "menuentry 'A' {\nlinux (hd0,1\n}\n", "menuentry 'A' {\nlinux /k  two   blanks \ninitrd /a /b\n}\n", "menuentry 'A' {\nlinux=/k\n}\n", "menuentry 'A' {\n# linux /x\nlinux /k # c\n}\n", "menuentry 'A' {\nlinux\n}\n", "menuentry 'A' {\nmultiboot2 /xen.gz\nmodule2 /k\n}\n",
    "menuentry 'A' $x {\nlinux /k root=${y}\n}\n", "menuentry '' {\nlinux /k\n}\n", 'functional x\n', '', '__proto__=1\nconstructor x\n', "menuentry 'A' {\n__proto__ x\ntoString y\nlinux /k\n}\n", "set __proto__=1\n", "menuentry 'é' {\r\n linux /k\r\n}\r\n",
  ].map((text) => ({ kind: 'grub2' as const, text })),
  ...[
    'title A\nroot (hd0,0)\nkernel /k ro\ninitrd /i\n', 'default=1\ntitle A\nkernel /k\ntitle B\nkernel /l\n', 'default 1\n', 'default saved\n', 'default = 1\n', 'default x\n', 'default -1\n', 'default=1\ntitle A\ndefault=2\nkernel /k\n', 'title A\n', 'title\n', 'titleA\nkernel /k\n',
    'title A\ntitle B\nkernel /k\n', 'title A\nkernel (hd0,0)/k a=b\nmodule /x\n', 'title A\nkernel /k\ta b\n', 'title A\nkernel\t/k a\tb\n', 'title A\nkernel=/k a\n', 'title A\nroot hd0\nkernel /k\n', 'title A\nroot x\nkernel /k\n', 'title A\nrootnoverify (hd0,x)\n', 'title A\nroot (/dev/xvda,1)\nkernel /k\n',
    'kernel /k\n', '# c\n\n  title  A  \n  kernel /k\n', 'title A\nkernel\n', 'title A\nkernel /a\nkernel /b c\n', 'timeout=5\nhiddenmenu\nsplashimage=(hd0,0)/x\ntitle A\nkernel /k\n', '', '__proto__ x\ntitle A\n__proto__ y\nkernel /k\n', 'default 1_0\n', 'default +2\n', 'password --md5 x\ntitle A\nkernel /k\n',
  ].map((text) => ({ kind: 'legacy' as const, text })),
  ...[
    'default linux\ntimeout 5\nlabel linux\nkernel /k\nappend root=/dev/sda1 ro\n', 'label a\nkernel /k\nappend initrd=/i ro quiet\n', 'label a\nkernel /k\nappend ro initrd=/i  x\n', 'LABEL a\nKERNEL /k x y\n', 'label a\nappend initrd=/i\nkernel /k\n', 'label a\nkernel /k\nappend "a b"\n',
    'label a\nkernel mboot.c32\nappend /xen.gz dom0 --- /vmlinuz ro --- /initrd\n', 'label a\nkernel mboot.c32\nappend /vmlinuz a --- /initrd\n', 'label a\nkernel mboot.c32\nappend /xen\n', 'label a\nkernel mboot.c32\nappend a---b---c---d\n', 'default b\nlabel a\nkernel /k\nlabel b\nkernel /l\n', 'default c\nlabel a\nkernel /k\n',
    'label "quoted name"\nkernel /k\n', 'label a\n', '', 'label=a\nkernel=/k\n', 'label a\nkernel /k\nappend\n', 'label a\nkernel /k\nappend INITRD=/i initrd=/j\n', 'label a\nkernel /k\ninitrd /i\n', 'labelx\nkernel /k\n', 'label a\nkernel /k\nappend initrd=/i "\n', 'label a\n__proto__ x\nkernel /k\n',
  ].map((text) => ({ kind: 'extlinux' as const, text })),
]

const missing = whyNoPygrub()
describe.skipIf(missing !== undefined)(`pygrub's readers${missing ?? ''}`, { timeout: 60_000 }, () => {
  test('agree with ours about a table', () => {
    const theirs = readByPygrub(TABLE)
    expect(TABLE.map((question) => [question, ours(question)])).toEqual(TABLE.map((question, i) => [question, theirs[i]]))
    expect(theirs.filter((found) => found === undefined).length).toBeGreaterThan(8)
  })

  test('agree with ours about random files', () => {
    const random = new SeededRandom(3)
    const pick = <T>(items: readonly T[]): T => items[random.next() % items.length]!
    const words = ['linux', 'linux16', 'initrd', 'kernel', 'root', 'set', 'set root=', 'set default=', 'default', 'default=', 'title', 'title A', "menuentry 'A' {", 'menuentry "B" --id x {', "submenu 'S' {", '}', 'function f {', 'label', 'label x', 'append', 'module', '#', '(hd0,1)/k', '/vmlinuz', 'ro', 'a=b', '=', '1', '"2"', "'x'", 'initrd=/i', '---', 'mboot.c32', 'hd0,msdos1', '\t', '  ', '${saved_entry}', 'fi']
    const texts = Array.from({ length: 1500 }, (_, i): ConfigText => ({
      kind: (['grub2', 'legacy', 'extlinux'] as const)[i % 3]!,
      text: Array.from({ length: random.next() % 12 }, () => Array.from({ length: 1 + (random.next() % 4) }, () => pick(words)).join(pick([' ', ' ', '', '\t']))).join('\n'),
    }))
    const theirs = readByPygrub(texts)
    texts.forEach((question, i) => expect([question, ours(question)]).toEqual([question, theirs[i]]))
  })

  test.skipIf(whyMissing('grubGenerators', 'grubShare') !== undefined)(`agree with ours about what Debian's generators write${whyMissing('grubGenerators', 'grubShare') ?? ''}`, () => {
    const text = generateGrubCfg({ linux: ['6.1.0-9-amd64', '5.10.0-8-amd64'], xen: ['4.17-amd64'], multiboot2: true, settings: { GRUB_CMDLINE_LINUX_DEFAULT: 'quiet' } })
    const mine = ours({ kind: 'grub2', text })
    expect([mine]).toEqual(readByPygrub([{ kind: 'grub2', text }]))
    expect(mine?.images[0]).toEqual(['Debian GNU/Linux', '/boot/vmlinuz-6.1.0-9-amd64', 'root=/dev/sda1 ro  quiet', '/boot/initrd.img-6.1.0-9-amd64'])
  })
})
