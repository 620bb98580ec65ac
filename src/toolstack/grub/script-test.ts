/**
 * `[ ... ]` of GRUB's scripts: comparisons of texts and numbers. There are no files here: every question about one is
 * answered no. Reference: GRUB manual, "test"; grub-core/commands/test.c.
 */

const TEXT: Readonly<Record<string, (a: string, b: string) => boolean>> = {
  '=': (a, b) => a === b, '==': (a, b) => a === b, '!=': (a, b) => a !== b,
  '<': (a, b) => a < b, '<=': (a, b) => a <= b, '>': (a, b) => a > b, '>=': (a, b) => a >= b,
}
const NUMBERS: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  '-eq': (a, b) => a === b, '-ne': (a, b) => a !== b,
  '-lt': (a, b) => a < b, '-le': (a, b) => a <= b, '-gt': (a, b) => a > b, '-ge': (a, b) => a >= b,
}
const FILES = new Set(['-d', '-e', '-f', '-s'])
const FILE_PAIRS = new Set(['-nt', '-ot'])

/** What a text counts as a number: its leading digits. */
const number = (text: string): number => Number(/^\s*(-?\d{1,15})/.exec(text)?.[1] ?? 0)

/** Weighs an expression from left to right, `-a` before `-o`. */
class Expression {
  private readonly words: readonly string[]
  private at = 0

  constructor(words: readonly string[]) {
    this.words = words
  }

  private primary(): boolean {
    const [first, operator, second] = [this.words[this.at], this.words[this.at + 1], this.words[this.at + 2]]
    if (first === undefined) return false
    if (operator !== undefined && second !== undefined) {
      const known = Object.hasOwn(TEXT, operator) || Object.hasOwn(NUMBERS, operator) || FILE_PAIRS.has(operator)
      if (known) this.at += 3
      if (Object.hasOwn(TEXT, operator)) return TEXT[operator]!(first, second)
      if (Object.hasOwn(NUMBERS, operator)) return NUMBERS[operator]!(number(first), number(second))
      if (known) return false
    }
    if (operator !== undefined && (FILES.has(first) || first === '-n' || first === '-z')) {
      this.at += 2
      return first === '-n' ? operator !== '' : first === '-z' ? operator === '' : false
    }
    this.at += 1
    return first !== ''
  }

  private factor(depth: number): boolean {
    let negated = false
    while (this.words[this.at] === '!' && this.at + 1 < this.words.length) {
      negated = !negated
      this.at += 1
    }
    if (this.words[this.at] !== '(' || depth > 32) return this.primary() !== negated
    this.at += 1
    const inner = this.either(depth + 1)
    if (this.words[this.at] === ')') this.at += 1
    return inner !== negated
  }

  private both(depth: number): boolean {
    let result = this.factor(depth)
    while (this.words[this.at] === '-a') {
      this.at += 1
      result = this.factor(depth) && result
    }
    return result
  }

  either(depth: number): boolean {
    let result = this.both(depth)
    while (this.words[this.at] === '-o') {
      this.at += 1
      result = this.both(depth) || result
    }
    return result
  }
}

/** What `test` with these words says; without any it says no. */
export const evaluateTest = (words: readonly string[]): boolean => new Expression(words).either(0)
