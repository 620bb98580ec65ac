/** Documents that are made of tables say what the tables say. */
import { readFileSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { ERROR_CODES } from '../../../src/util/index.ts'
import { DOCUMENTS } from '../../support/documents.ts'

test.each(Object.entries(DOCUMENTS))('%s is as its tables have it', (place, make) => {
  expect(readFileSync(join(resolve(import.meta.dirname, '../../..'), place), 'utf8')).toBe(make())
})

test('every code of the table is thrown somewhere, and none but those', () => {
  const source = resolve(import.meta.dirname, '../../../src')
  const texts = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts') && !name.endsWith('error-codes.ts'))
    .map((name) => readFileSync(join(source, name), 'utf8')).join('\n')
  expect(Object.keys(ERROR_CODES).filter((code) => !texts.includes(`'${code}'`))).toEqual([])
})
