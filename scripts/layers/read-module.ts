/** What one file imports, and where it reaches for clock, timers or randomness. Read from its syntax alone. */
import ts from 'typescript'
import { RUNTIME_FUNCTIONS, RUNTIME_METHODS } from './rules.js'

export interface Use {
  readonly name: string
  readonly line: number
}

export interface Module {
  readonly imports: readonly Use[]
  readonly runtimeUses: readonly Use[]
}

export function readModule(path: string, text: string): Module {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  const imports: Use[] = []
  const runtimeUses: Use[] = []
  const at = (node: ts.Node, name: string): Use => ({
    name,
    line: file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1,
  })
  const visit = (node: ts.Node): void => {
    const specifier = importedName(node)
    if (specifier !== undefined) imports.push(at(node, specifier))
    const use = runtimeUse(node)
    if (use !== undefined) runtimeUses.push(at(node, use))
    ts.forEachChild(node, visit)
  }
  visit(file)
  return { imports, runtimeUses }
}

function importedName(node: ts.Node): string | undefined {
  const literal = importedLiteral(node)
  return literal !== undefined && ts.isStringLiteralLike(literal) ? literal.text : undefined
}

function importedLiteral(node: ts.Node): ts.Node | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return node.moduleSpecifier
  if (ts.isExternalModuleReference(node)) return node.expression
  if (ts.isImportTypeNode(node))
    return ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined
  if (!ts.isCallExpression(node)) return undefined
  const callsImport = node.expression.kind === ts.SyntaxKind.ImportKeyword
  const callsRequire = ts.isIdentifier(node.expression) && node.expression.text === 'require'
  return callsImport || callsRequire ? node.arguments[0] : undefined
}

function runtimeUse(node: ts.Node): string | undefined {
  if (ts.isIdentifier(node)) {
    return RUNTIME_FUNCTIONS.includes(node.text) && isValue(node) ? node.text : undefined
  }
  if (ts.isPropertyAccessExpression(node)) return method(node.expression, node.name.text)
  if (ts.isElementAccessExpression(node) && ts.isStringLiteralLike(node.argumentExpression)) {
    return method(node.expression, node.argumentExpression.text)
  }
  if (ts.isBindingElement(node)) return destructured(node)
  // Without an argument a Date is the clock; so is Date called as a function.
  if (ts.isNewExpression(node) && objectName(node.expression) === 'Date' && !node.arguments?.length)
    return 'new Date()'
  if (ts.isCallExpression(node) && objectName(node.expression) === 'Date') return 'Date()'
  return undefined
}

/** Whether the identifier stands for the function itself, and is not a member's name or part of a type. */
function isValue(node: ts.Identifier): boolean {
  const { parent } = node
  if (ts.isPropertyAccessExpression(parent)) return parent.name !== node || isNamespace(parent.expression)
  if (ts.isTypeQueryNode(parent) || ts.isTypeReferenceNode(parent)) return false
  if (ts.isPropertyAssignment(parent)) return parent.initializer === node
  return !(ts.isTypeElement(parent) || ts.isClassElement(parent) || ts.isMethodDeclaration(parent))
}

/** `globalThis.setTimeout` and `crypto.randomUUID` are the functions too; `clock.setTimeout` is the runtime's. */
function isNamespace(expression: ts.Expression): boolean {
  return ['globalThis', 'global', 'crypto', 'webcrypto'].includes(objectName(expression) ?? '')
}

function method(object: ts.Expression, name: string): string | undefined {
  const owner = objectName(object)
  const banned = RUNTIME_METHODS.some(rule => rule.object === owner && rule.method === name)
  return banned ? `${owner}.${name}` : undefined
}

function destructured(node: ts.BindingElement): string | undefined {
  const declaration = node.parent.parent
  if (!ts.isVariableDeclaration(declaration) || declaration.initializer === undefined) return undefined
  const property = node.propertyName ?? node.name
  return ts.isIdentifier(property) ? method(declaration.initializer, property.text) : undefined
}

/** `Date` for `Date` and for `globalThis.Date`. */
function objectName(expression: ts.Expression): string | undefined {
  if (ts.isIdentifier(expression)) return expression.text
  if (ts.isPropertyAccessExpression(expression) && objectName(expression.expression) === 'globalThis') {
    return expression.name.text
  }
  return undefined
}
