/**
 * The public surface by TypeScript's own account: every call of the package's entry point with its parameters, and for each
 * parameter values that its type does not allow. A new call or option is there as soon as it is exported.
 */
import { resolve } from 'node:path'
import ts from 'typescript'

/** A value that a parameter's type does not allow. */
export interface Wrong {
  /** What it is, in words. */
  readonly what: string
  readonly value: unknown
}

/** One parameter of a call. */
export interface Parameter {
  readonly name: string
  readonly isOptional: boolean
  readonly type: string
  readonly wrong: readonly Wrong[]
}

/** One call: a method of a class, a static one, or a function. */
export interface SurfaceCall {
  /** `Host.createDomain`, `static Host.boot`, `parseDescription`. */
  readonly name: string
  readonly owner: string | undefined
  readonly method: string
  readonly isStatic: boolean
  readonly returns: string
  readonly parameters: readonly Parameter[]
}

const ROOT = resolve(import.meta.dirname, '../..')

/** Values of each kind; a parameter is given those of the kinds that its type has not. */
const KINDS: readonly (readonly [flag: ts.TypeFlags, values: readonly unknown[]])[] = [
  [ts.TypeFlags.NumberLike, [7]],
  [ts.TypeFlags.StringLike, ['no such thing']],
  [ts.TypeFlags.BooleanLike, [true]],
  [ts.TypeFlags.Null, [null]],
  [ts.TypeFlags.ESSymbolLike, [Symbol('symbol')]],
  [ts.TypeFlags.BigIntLike, [7n]],
]

/** Objects that throw as soon as somebody looks at them, whatever the type asks for. */
const hostile = (): Wrong[] => {
  const fails = (): never => { throw new Error('looked at') }
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return [
    { what: 'a revoked proxy', value: proxy },
    { what: 'an object that throws', value: { toString: fails, toJSON: fails, get name() { return fails() } } },
    { what: 'an object without a prototype', value: Object.assign(Object.create(null) as object, { nosuch: 1 }) },
  ]
}
const shown = (value: unknown): string => (typeof value === 'bigint' ? `${value}n` : typeof value === 'symbol' ? 'a symbol' : JSON.stringify(value) ?? String(value))

/** Reads the surface of an entry point. It takes some seconds: share what it gives. */
export function publicSurface(entry = 'src/index.ts'): readonly SurfaceCall[] {
  const program = ts.createProgram({
    rootNames: [resolve(ROOT, entry)],
    options: {
      strict: true, noEmit: true, allowImportingTsExtensions: true, skipLibCheck: true, types: ['node'],
      moduleResolution: ts.ModuleResolutionKind.Bundler, module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022,
    },
  })
  return new Surface(program.getTypeChecker()).of(program.getSourceFile(resolve(ROOT, entry))!)
}

class Surface {
  private readonly checker: ts.TypeChecker

  constructor(checker: ts.TypeChecker) {
    this.checker = checker
  }

  of(file: ts.SourceFile): SurfaceCall[] {
    const { checker } = this
    return checker.getExportsOfModule(checker.getSymbolAtLocation(file)!).flatMap((exported) => {
      const symbol = (exported.flags & ts.SymbolFlags.Alias) === 0 ? exported : checker.getAliasedSymbol(exported)
      if ((symbol.flags & (ts.SymbolFlags.Class | ts.SymbolFlags.Function | ts.SymbolFlags.Variable)) === 0) return []
      const type = checker.getTypeOfSymbol(symbol)
      const own = this.call(type, { name: exported.name, owner: undefined, isStatic: false })
      if ((symbol.flags & ts.SymbolFlags.Class) === 0) return own
      const [owner, instance] = [exported.name, checker.getDeclaredTypeOfSymbol(symbol)]
      return [
        ...own,
        ...type.getProperties().filter((member) => this.isOwn(member, file)).flatMap((member) => this.call(checker.getTypeOfSymbol(member), { name: member.name, owner, isStatic: true })),
        ...instance.getProperties().filter((member) => this.isOwn(member, file)).flatMap((member) => [
          ...this.call(checker.getTypeOfSymbol(member), { name: member.name, owner, isStatic: false }),
          ...this.face(checker.getTypeOfSymbol(member)),
        ]),
      ]
    })
  }

  /** Public, of this package, and with a name that one writes. */
  private isOwn(member: ts.Symbol, file: ts.SourceFile): boolean {
    const declaration = member.valueDeclaration
    if (declaration === undefined || member.name.startsWith('__') || member.name === 'prototype') return false
    if (declaration.getSourceFile().fileName.includes('node_modules')) return false
    return file !== undefined && (ts.getCombinedModifierFlags(declaration) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) === 0
  }

  private interfacesOf(type: ts.Type): readonly ts.Type[] {
    return type.isClassOrInterface() ? this.checker.getBaseTypes(type) : []
  }

  /** Calls of the hypervisor's control interface, where a handle has one. */
  private face(type: ts.Type): SurfaceCall[] {
    const owner = 'ControlInterface'
    const [control] = this.interfacesOf(type).filter(({ symbol }) => symbol.name === owner)
    if (control === undefined) return []
    return control.getProperties().flatMap((member) => this.call(this.checker.getTypeOfSymbol(member), { name: member.name, owner, isStatic: false }))
  }

  private call(type: ts.Type, { name, owner, isStatic }: { readonly name: string; readonly owner: string | undefined; readonly isStatic: boolean }): SurfaceCall[] {
    const [signature] = type.getCallSignatures()
    if (signature === undefined) return []
    const full = `${isStatic ? 'static ' : ''}${owner === undefined ? '' : `${owner}.`}${name}`
    return [{
      name: full, owner, method: name, isStatic, returns: this.checker.typeToString(signature.getReturnType()),
      parameters: signature.parameters.map((parameter) => this.parameter(parameter)),
    }]
  }

  private parameter(symbol: ts.Symbol): Parameter {
    const { checker } = this
    const declaration = symbol.valueDeclaration as ts.ParameterDeclaration
    const isOptional = checker.isOptionalParameter(declaration)
    const type = checker.getNonNullableType(checker.getTypeOfSymbol(symbol))
    return { name: symbol.name, isOptional, type: checker.typeToString(type), wrong: [...this.wrongFor(type), ...this.hostileFor(type), ...this.wrongOptions(type)] }
  }

  private members(type: ts.Type): readonly ts.Type[] {
    return type.isUnion() ? type.types : [type]
  }

  /** Values of kinds that the type has not, and numbers that no count or size is. */
  private wrongFor(type: ts.Type): Wrong[] {
    const members = this.members(type)
    const has = (flag: ts.TypeFlags): boolean => members.some((member) => (member.flags & flag) !== 0)
    if (has(ts.TypeFlags.Any | ts.TypeFlags.Unknown)) return []
    const kinds = KINDS.filter(([flag]) => !has(flag)).flatMap(([, values]) => values)
    // Words of a list: another word is wrong as well.
    const isWords = has(ts.TypeFlags.StringLiteral) && !has(ts.TypeFlags.String)
    const numbers = has(ts.TypeFlags.Number) && !has(ts.TypeFlags.String) ? [NaN, -1] : []
    return [...kinds, ...(isWords ? ['no such word'] : []), ...numbers].map((value) => ({ what: shown(value), value }))
  }

  private hostileFor(type: ts.Type): Wrong[] {
    return this.members(type).some(({ flags }) => (flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown)) !== 0) ? [] : hostile()
  }

  /** For an object of options: an option that there is not, and each that there is with what it cannot be. */
  private wrongOptions(type: ts.Type): Wrong[] {
    const options = this.members(type).find((member) => (member.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection)) !== 0
      && member.getCallSignatures().length === 0 && member.getProperties().length > 0 && member.getProperties().every(({ flags }) => (flags & ts.SymbolFlags.Optional) !== 0))
    if (options === undefined) return []
    const each = options.getProperties().flatMap((property) => {
      const own = this.checker.getNonNullableType(this.checker.getTypeOfSymbol(property))
      return this.wrongFor(own).filter(({ value }) => value !== null)
        .map(({ what, value }) => ({ what: `{ ${property.name}: ${what} }`, value: { [property.name]: value } }))
    })
    return [{ what: '{ nosuch: 1 }', value: { nosuch: 1 } }, { what: '[]', value: [] }, ...each]
  }
}
