import { describe, expect, test } from 'vitest'
import type { BootDescription } from '../../../../src/toolstack/grub/boot-description.ts'
import { parseGrubCfg } from '../../../../src/toolstack/grub/grub-cfg.ts'
import { parseGrub } from '../../../../src/toolstack/grub/grub.ts'
import { parseScript } from '../../../../src/toolstack/grub/script-syntax.ts'
import { SeededRandom } from '../../../../src/util/index.ts'
import { generateGrubCfg, isGrubScript } from '../../../support/grub-files.ts'
import { whyMissing } from '../../../support/guests.ts'

/** An entry that boots Xen. */
const xen = (title: string, options = ''): string =>
  `menuentry '${title}' ${options} {\n multiboot2 /boot/xen.gz placeholder\n module2 /boot/vmlinuz placeholder ro\n}\n`
const linux = (title: string): string => `menuentry "${title}" {\n linux /boot/vmlinuz root=/dev/sda1\n initrd /boot/a.img /boot/b.img\n}\n`
const booted = (text: string, entry?: string | number): string => parseGrubCfg(text, entry === undefined ? {} : { entry }).title

describe('a grub.cfg', () => {
  test('names hypervisor, dom0 kernel, ramdisk and further modules', () => {
    expect(parseGrubCfg(`
set timeout=7
menuentry 'Debian GNU/Linux, with Xen hypervisor' --class debian --class xen --users "" $menuentry_id_option 'xen-1' {
	insmod part_gpt
	search --no-floppy --fs-uuid --set=root 1111-2222
	echo	'Loading Xen ...'
        if [ "$grub_platform" = "pc" -o "$grub_platform" = "" ]; then
            xen_rm_opts=
        else
            xen_rm_opts="no-real-mode edd=off"
        fi
	multiboot2	/boot/xen-4.17-amd64.gz placeholder dom0_mem=1G,max:1G sched=credit \${xen_rm_opts}
	module2	/boot/vmlinuz-6.1 placeholder root=/dev/mapper/vg-root ro "two words" quiet
	module2	--nounzip   /boot/initrd.img-6.1
	module2 /boot/xenpolicy
}
`)).toEqual<BootDescription>({
      title: 'Debian GNU/Linux, with Xen hypervisor', timeout: 7, warnings: [],
      hypervisor: { path: '/boot/xen-4.17-amd64.gz', commandLine: 'dom0_mem=1G,max:1G sched=credit' },
      xen: { dom0Memory: { amount: { bytes: 2 ** 30, percent: 0 }, max: { bytes: 2 ** 30, percent: 0 } }, scheduler: 'credit' },
      dom0: { path: '/boot/vmlinuz-6.1', commandLine: 'root=/dev/mapper/vg-root ro "two words" quiet' },
      ramdisk: { path: '/boot/initrd.img-6.1', commandLine: '' },
      others: [{ path: '/boot/xenpolicy', commandLine: '' }],
    })
  })

  const menu = `${xen('A', '--id a')}submenu 'More > here' --id more {\n${xen('B', '--id b')}${xen('C')}submenu deep {\n${xen('D')}}\n}\n${xen('E', '--id=e')}`
  test.each<[string, string]>([
    ['', 'A'], ['set default=0', 'A'], ['set default=2', 'E'], ['default=2', 'E'], ['set default="E"', 'E'], ['set default=e', 'E'], ['set default=a', 'A'],
    ['set default=1', 'More > here>B'], ['set default="1>1"', 'More > here>C'], ["set default='more>b'", 'More > here>B'], ["set default='More >> here>C'", 'More > here>C'],
    ["set default='1>2>0'", 'More > here>deep>D'], ["set default='more>deep>D'", 'More > here>deep>D'], ["set default='2xyz'", 'E'], ['set default=0x2', 'E'],
    ['set default=9', 'A'], ['set default=nothing', 'A'], ["set default='more>nothing'", 'More > here>B'], ['set default=saved', 'A'], ['set default="${saved_entry}"', 'A'],
    ['saved_entry=e\nset default="${saved_entry}"', 'E'], ['if [ "${next_entry}" ]; then set default="${next_entry}"; else set default="2"; fi', 'E'],
    ['a=1\nb=2\nset default=$b', 'E'], ["set a='2 x'\nset default=\"$a\"", 'E'],
  ])('with %j boots %s', (line, title) => {
    expect(booted(`${line}\n${menu}`)).toBe(title)
    expect(booted(`${menu}${line}\n`)).toBe(title)
  })

  test('gives another entry by number, title, identifier or path', () => {
    expect([0, 2, 'e', '1>2>0', 'more>b'].map((entry) => booted(menu, entry))).toEqual(['A', 'E', 'E', 'More > here>deep>D', 'More > here>B'])
    expect(() => booted(menu, 'nothing')).toThrow(/there is no entry "nothing"/)
    expect(() => booted(`${linux('L')}${menu}`, 0)).toThrow(/entry `L` does not boot Xen/)
  })

  test('a default entry that does not boot Xen gives way to the first one that does, with a warning', () => {
    const { title, warnings } = parseGrubCfg(`${linux('Debian')}menuentry W {\n chainloader +1\n}\nmenuentry 'Shut down' {\n halt\n}\n${xen('X')}`)
    expect([title, warnings.map(({ message }) => message)]).toEqual(['X', ['grub.cfg: entry `Debian` does not boot Xen; `X` is booted']])
    expect(() => parseGrubCfg(linux('Debian'))).toThrow(/no entry that boots Xen/)
    expect(() => parseGrubCfg('')).toThrow(/no entry that boots Xen, nor any other$/)
    expect(() => parseGrubCfg(linux('Debian'))).toThrow(/only "Debian"$/)
    expect(() => parseGrubCfg('menuentry "x" {\n linux /vmlinuz\n')).toThrow(/nor any other; grub\.cfg:3:1: .*found the end of the text/)
  })

  test.each<[string, string]>([
    ['a=x', 'a=x'], ["'a b'", '"a b"'], ['"a b"', '"a b"'], ['a\\ b', '"a b"'], ['"say \\"hi\\""', '"say \\"hi\\""'], ["'$v'", '$v'], ['"$v"', '1 2'], ['$v', '1 2'], ['x${v}y', 'x1 2y'],
    ['"x${v}y"', '"x1 2y"'], ['$none', ''], ['"$none"x', 'x'], ['\\$v', '$v'], ['"\\$v"', '$v'], ['"a\\b"', 'a\\\\b'], ['a#b', 'a#b'], ['# c', ''], ['a \\\n b', 'a b'], ['a\\\nb', 'ab'],
    ["it\\'s", "it\\'s"], ['$1', 'T'], ['$"text"', 'text'], ['$?', '0'],
  ])('%s on a command line is %j', (written, read) => {
    const text = `v='1 2'\nmenuentry T {\n multiboot2 /xen.gz placeholder ${written}\n}\n`
    // A word with a blank is quoted where it is passed on; an unquoted variable makes words of their own.
    expect(parseGrubCfg(text).hypervisor.commandLine).toBe(read === '1 2' && written.startsWith('"') ? '"1 2"' : read)
  })

  test.each<[string, string]>([
    ['if [ a = a ]; then r=y; fi', 'y'], ['if [ a = b ]; then r=y; else r=n; fi', 'n'], ['if false; then r=y; elif true; then r=e; fi', 'e'], ['if test -n "x"; then r=y; fi', 'y'],
    ['if [ -z "$none" -a ! 1 -eq 2 ]; then r=y; fi', 'y'], ['if [ -e /boot/x -o 2 -lt 10 ]; then r=y; fi', 'y'], ['if [ ( 1 -gt 2 ) ]; then r=y; else r=n; fi', 'n'],
    ['for i in a b "c d"; do r="$r[$i]"; done', '[a][b][c d]'], ['r=x; while [ "$r" != xyyy ]; do r="${r}y"; done', 'xyyy'], ['until [ "$r" = zz ]; do r=${r}z; done', 'zz'],
    ['function f {\n r="$1-$2-$#"\n}\nf a "b c"', 'a-b c-2'], ['set r=1\nunset r\nr=$r"2"', '2'], ['unknown_command a b\nr=y', 'y'], ['if unknown_command; then r=y; else r=n; fi', 'n'],
    ['source /x\nr=y', 'y'], ['r=y # c', 'y'], ['#r=n\nr=y', 'y'],
  ])('%j runs', (script, result) => {
    expect(booted(`${script}\n${xen('no')}menuentry "r=$r" {\n multiboot /xen.gz x\n}\nset default=1\n`)).toBe(`r=${result}`)
  })

  test('a submenu sees only what is exported', () => {
    const text = `a=1\nexport b\nb=2\nsubmenu S {\n menuentry "a=$a b=$b" {\n multiboot2 /xen.gz x\n }\n}\n`
    expect(booted(text)).toBe('S>a= b=2')
  })

  test('what is no script is passed over, with a warning that says where', () => {
    const text = `${xen('A')}menuentry broken {\n}\n}}\n&& x\nthen\n${xen('B', '--id b')}set default=b\nmenuentry "open {\n`
    const { title, warnings } = parseGrubCfg(text, { source: 'g' })
    expect(title).toBe('B')
    expect(warnings.map(({ message }) => message)[0]).toBe('g:6:1: a command expected, found `}`')
    expect(warnings.length).toBeGreaterThan(3)
  })

  test.each<[string, string]>([
    ['a loop without an end', 'while true; do a=1; done\n'], ['a function that calls itself', 'function f {\n f\n f\n}\nf\n'], ['a text that doubles', 'a=xxxxxxxx\n' + 'a="$a$a"\n'.repeat(60)],
    ['words without number', 'for i in ' + 'x '.repeat(20_000) + '; do for j in ' + 'y '.repeat(20_000) + '; do a=$i$j; done; done\n'], ['entries without number', 'while true; do menuentry a { true; }; done\n'],
    ['menus in menus', 'function f {\n submenu s {\n f\n }\n}\nf\n'], ['deep nesting', 'if true; then '.repeat(5000) + '\n'], ['deep braces', 'a { '.repeat(5000) + '\n'], ['quotes', '"'.repeat(9_999) + '\n'],
    ['names of objects', 'set __proto__=1\nset constructor=2\nexport __proto__\nfunction toString {\n true\n}\ntoString\nmenuentry __proto__ --id constructor { true; }\n'],
  ])('%s ends and leaves the rest as it is', (_what, script) => {
    expect(booted(`${xen('X')}${script}\n`)).toBe('X')
    expect(({} as Record<string, unknown>)['1']).toBeUndefined()
  })

  test('either kind of file is known by its look', () => {
    expect(parseGrub(xen('X')).title).toBe('X')
    expect(parseGrub('title L\nkernel /xen.gz').title).toBe('L')
    expect(() => parseGrub('')).toThrow(/no entry that boots Xen/)
  })
})

const missing = whyMissing('grubScriptCheck', 'grubGenerators', 'grubShare')
describe.skipIf(missing !== undefined)(`Debian's GRUB${missing ?? ''}`, { timeout: 60_000 }, () => {
  /** What the generators write: one file in which Xen is loaded by `multiboot2`, and one by `multiboot`, with saved defaults. */
  const generated = missing !== undefined ? [] : [true, false].map((multiboot2) => generateGrubCfg({
    linux: ['6.1.0-9-amd64', '5.10.0-8-amd64'], xen: ['4.17-amd64', '4.14-amd64'], multiboot2,
    settings: {
      GRUB_CMDLINE_XEN: 'dom0_mem=1G,max:1G loglvl=all', GRUB_CMDLINE_LINUX_DEFAULT: 'quiet', GRUB_TIMEOUT: '5',
      ...(multiboot2 ? {} : { GRUB_DEFAULT: 'saved', GRUB_SAVEDEFAULT: 'true' }),
    },
  }))
  test('a generated file is a script, for GRUB and for us', () => {
    expect(generated.map(isGrubScript)).toEqual([true, true])
    expect(generated.map((text) => parseScript(text).faults)).toEqual([[], []])
    expect(generated.map((text) => /^\s*(multiboot\w*)/m.exec(text)?.[1])).toEqual(['multiboot2', 'multiboot'])
  })

  const SIMPLE = 'Debian GNU/Linux, with Xen hypervisor'
  const ADVANCED = 'Advanced options for Debian GNU/Linux (with Xen hypervisor)'
  test.each<[string, number, string]>([
    ['0', 0, SIMPLE], ['${saved_entry}', 1, SIMPLE], [SIMPLE, 0, SIMPLE], ['xen-gnulinux-simple-1111-2222', 1, SIMPLE],
    ['3>0>1', 0, `${ADVANCED}>Xen hypervisor, version 4.17-amd64>Debian GNU/Linux, with Xen 4.17-amd64 and Linux 6.1.0-9-amd64 (recovery mode)`],
    [`${ADVANCED}>Xen hypervisor, version 4.14-amd64>Debian GNU/Linux, with Xen 4.14-amd64 and Linux 5.10.0-8-amd64`, 1,
      `${ADVANCED}>Xen hypervisor, version 4.14-amd64>Debian GNU/Linux, with Xen 4.14-amd64 and Linux 5.10.0-8-amd64`],
    // The two menus of advanced options have the same identifier: the first one counts, which knows no Xen.
    ['gnulinux-advanced-1111-2222>xen-hypervisor-4.14-amd64-1111-2222', 0, SIMPLE],
  ])('a generated file with the default %j', (chosen, which, title) => {
    const boot = parseGrubCfg(generated[which]!.replace(/set default="[^"]*"(?=\nfi)/, `set default="${chosen.replaceAll('$', '$$$$')}"`))
    const [xenVersion, linuxVersion] = title.includes('5.10.0') ? ['4.14', '5.10.0-8'] : ['4.17', '6.1.0-9']
    expect([boot.title, boot.timeout]).toEqual([title, 5])
    expect(boot.hypervisor).toEqual({ path: `/boot/xen-${xenVersion}-amd64.gz`, commandLine: expect.stringMatching(/^dom0_mem=1G,max:1G/) })
    expect(boot.dom0).toEqual({ path: `/boot/vmlinuz-${linuxVersion}-amd64`, commandLine: expect.stringMatching(/^root=\/dev\/sda1 ro /) })
    expect(boot.ramdisk).toEqual({ path: `/boot/initrd.img-${linuxVersion}-amd64`, commandLine: '' })
  })

  const TABLE = [
    'a\n', 'a b c\n', 'a;b\n', 'a; b;\n', ';\n', 'a;;b\n', 'a ; ; b\n', '{\n', '}\n', 'a }\n', 'a { b }\n', 'a { b; }\n', 'a {\n b\n}\n', 'a { }\n', 'a {\n}\n', 'a {\n\n b\n\n}\n', 'a { b } c\n', 'a { b } ; c\n', 'a {b}\n', 'a{ b; }\n',
    'if a; then b; fi\n', 'if a; then b fi\n', 'if a then b; fi\n', 'if a\nthen\nb\nfi\n', 'if a; then fi\n', 'if a; then b; else c; fi\n', 'if a; then b; elif c; then d; else e; fi\n', 'if a; then b; else fi\n', 'if ; then a; fi\n', 'fi\n', 'then\n', 'echo fi then if\n',
    'for x in a b; do c; done\n', 'for x in; do c; done\n', 'for 1 in a; do c; done\n', 'for x in a\ndo\nc\ndone\n', 'for x; do c; done\n', 'while a; do b; done\n', 'until a; do b; done\n', 'while a; b; do c; done\n', 'while a; do done\n', 'do\n', 'done\n',
    'function f { a; }\n', 'function f { a }\n', 'function f {\n a\n}\n', 'function f\n{\n a\n}\n', 'function f { }\n', 'function 1 { a; }\n', 'function if { a; }\n', 'a {\n function f {\n b\n }\n}\n', 'if a; then function f { b; }; fi\n',
    'a "b\nc"\n', "a 'b\nc'\n", 'a "b\n', "a 'b\n", 'a \\\nb\n', 'a \\\n', 'a\\\n\n', 'a "\\""\n', "a '\\'\n", 'a $\n', 'a $x\n', 'a ${x}\n', 'a ${x\n', 'a ${}\n', 'a ${x-y}\n', 'a $1 $? $# $@ $*\n', 'a ${?}\n', 'a "$"\n', 'a "${x"\n', 'a $"x"\n', 'a $-\n',
    'a | b\n', 'a && b\n', 'a || b\n', 'a & b\n', 'a < b\n', 'a > b\n', '[ a ]\n', '[[ a ]]\n', '[[a]]\n', 'a [[ b\n', 'a[[\n', '! a\n', 'a=b\n', '=\n', '# c\n', 'a # c\n', 'a#c\n', "#don't\n", '', '\n\n', 'case\n', 'esac x\n', 'select\n', 'in\n', 'a é\n', '\t a\t\n',
  ]
  test.each(TABLE)('agrees that %j is a script, or none', (piece) => {
    // The checker refuses a script that does nothing.
    const text = `${piece}true\n`
    expect([text, parseScript(text).faults.length === 0]).toEqual([text, isGrubScript(text)])
  })

  test('agrees about random texts', () => {
    const random = new SeededRandom(9)
    const pieces = ['a', 'b ', ' ', ' ', '\n', '\n', ';', '; ', '{', ' {\n', '}', '\n}\n', 'if ', '; then ', ' fi', '\nfi\n', 'else ', 'elif ', 'for x in ', '; do ', '; done\n', 'while ', 'function f ', '"', "'", '"x y"', "'z'", '$x', '${y}', '$', '\\', '\\\n', '#', '[ ', ' ]', '=', '|', '&', '[[ ']
    const pick = (): string => pieces[random.next() % pieces.length]!
    const valid = (depth: number): string => {
      const word = ['a', '"x y"', "'z'", '$x', '${y}w', 'e\\ f', '[', 'k=v'][random.next() % 8]!
      if (depth > 3) return word
      const body = (): string => Array.from({ length: 1 + (random.next() % 2) }, () => valid(depth + 1)).join(['; ', '\n'][random.next() % 2])
      return [word, `${word} b`, `if ${body()}; then ${body()}; fi`, `for i in ${word}; do\n${body()}\ndone`, `m ${word} {\n${body()}\n}`, `while ${word}; do ${body()}; done`][random.next() % 6]!
    }
    const texts = Array.from({ length: 150 }, (_, i) => `${one(i)}true\n`)
    function one(i: number): string {
      if (i % 3 === 0) return `${Array.from({ length: 1 + (random.next() % 10) }, pick).join('')}\n`
      const text = `${valid(0)}\n`
      if (i % 3 === 1) return text
      const at = random.next() % text.length
      return `${text.slice(0, at)}${pick()}${text.slice(at + (random.next() % 2))}\n`
    }
    const verdicts = texts.map((text) => [text, isGrubScript(text)] as const)
    expect(texts.map((text) => [text, parseScript(text).faults.length === 0])).toEqual(verdicts)
    expect(verdicts.filter(([, good]) => good).length).toBeGreaterThan(35)
    expect(verdicts.filter(([, good]) => !good).length).toBeGreaterThan(35)
  })
})
