/** docs/options.md out of the table of options. */
import { resolve } from 'node:path'
import { ACTION_OPTIONS, FILE_OPTIONS, INEFFECTIVE_OPTIONS, OF_PVH_TOO, OPTIONS, REFUSED_OPTIONS, type Ineffective } from '../../../../src/toolstack/config/option-table.ts'
import { defaultActions } from '../../../../src/toolstack/config/actions.ts'

/** Where the document stands. */
export const OPTIONS_FILE = resolve(import.meta.dirname, '../../../../docs/options.md')

const code = (text: string | undefined): string => (text === undefined ? '' : `\`${text}\``)

function shown(value: unknown): string {
  if (value === undefined) return ''
  return Array.isArray(value) ? 'none' : value === '' ? 'empty' : code(String(value))
}

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`

const WORDS: Readonly<Record<Ineffective, string>> = {
  'not implemented': 'not implemented', 'too often and too soon': '', 'only for xm': '', 'not for PV guests': 'of other kinds of guests', 'not for PVH guests': '',
  'not for x86': 'of other processors', 'no longer needed': 'no longer needed',
}

/** The text of the document. */
export function optionsDocument(): string {
  const options = Object.entries(OPTIONS).map(([name, { file, value, fallback, saved, about }]) =>
    row([code(name), code(file), value.words, shown(fallback), code(saved), about]))
  const usual = defaultActions('xl')
  const actions = Object.entries(ACTION_OPTIONS).map(([name, { file, value, saved, about }]) =>
    row([code(`actions.${name}`), code(file), value.words, code(usual[name as keyof typeof usual]), code(saved), about]))
  const files = Object.values(FILE_OPTIONS).map(({ file, value, spelling, about }) => row([code(file), value.words, spelling, about]))
  const without = Object.entries(WORDS).filter(([, words]) => words !== '').map(([reason, words]) => {
    const names = INEFFECTIVE_OPTIONS.filter((each) => each.reason === reason).map(({ file }) => code(file)).sort()
    return `**${words}**: ${names.join(', ')}`
  })
  return `# Options of a domain

Generated from \`src/toolstack/config/option-table.ts\`; \`npx tsx test/unit/toolstack/config/update-options.ts\` writes it anew.

## In objects and in description files

\`saved\` is the place in libxl's JSON at the head of a saved domain. In a file actions may be spelled with underscores.

| object | file | value | default | saved | what it does |
| --- | --- | --- | --- | --- | --- |
${[...options, ...actions].join('\n')}

## In description files only

| file | value | files of | what it does |
| --- | --- | --- | --- |
${files.join('\n')}

## Without effect

A file may use them; \`parseDescription\` and \`createDomain\` say in a warning that they have no effect, and why.

${without.join('\n\n')}

## Refused

A file or an object that wants something by one of these is refused with NOT_SUPPORTED and the reason; an empty list or text and 0 want nothing.

| option | because |
| --- | --- |
${Object.entries(REFUSED_OPTIONS).map(([name, why]) => row([code(name), why])).join('\n')}

For a guest of type \`pvh\` those of other kinds of guests are not for PVH guests, but for ${[...OF_PVH_TOO].sort().map(code).join(', ')}: these are not implemented.
`
}
