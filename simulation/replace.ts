/** Replaces a method of one of the cache's classes, from outside; returns what puts it back. */
export function replace<T extends object, K extends keyof T>(
  of: T,
  name: K,
  by: (original: T[K]) => T[K],
): () => void {
  const descriptor = Object.getOwnPropertyDescriptor(of, name)!
  Object.defineProperty(of, name, { ...descriptor, value: by(descriptor.value as T[K]) })
  return () => void Object.defineProperty(of, name, descriptor)
}
