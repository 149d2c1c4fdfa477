/**
 * Makes a parser's object safe to be shared, and tells whether it is: true once `root` and all within it are frozen.
 *
 * Only what JSON can express is shared: plain objects, arrays, and primitives in them. False for anything else (a Date,
 * a Map, a class's instance, a function), which freezing would not protect; `root` may then be frozen in part. Linear,
 * and without recursion: a document may be nested deeper than the stack.
 */
export function freezePlainData(root: object): boolean {
  if (!isPlainContainer(root)) return false
  const containers: object[] = [root]
  let frozenBefore: Set<object> | undefined
  // `containers` grows while it is walked.
  for (let i = 0; i < containers.length; i++) {
    const container = containers[i]!
    if (Object.isFrozen(container)) {
      // The parser shares it, or it contains itself.
      if (frozenBefore?.has(container)) continue
      frozenBefore ??= new Set()
      frozenBefore.add(container)
    } else {
      Object.freeze(container)
    }
    if (!collectContainers(container, containers)) return false
  }
  return true
}

/** Appends the containers directly in `container` to `found`; false if something in it is not plain. */
function collectContainers(container: object, found: object[]): boolean {
  const values: readonly unknown[] = Array.isArray(container) ? container : Object.values(container)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    if (isPrimitive(value)) continue
    if (!isPlainContainer(value)) return false
    found.push(value)
  }
  return true
}

export function isPrimitive(
  value: unknown,
): value is string | number | bigint | boolean | symbol | null | undefined {
  return value === null || (typeof value !== 'object' && typeof value !== 'function')
}

function isPlainContainer(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (Array.isArray(value)) return prototype === Array.prototype
  return prototype === Object.prototype || prototype === null
}
