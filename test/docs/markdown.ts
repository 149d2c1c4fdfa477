import { read } from './interfaces.js'

/** The part of a document under a heading, up to the next one of the same or a higher level. */
export function section(path: string, heading: string): string {
  const text = read(path)
  const lines = [...text.matchAll(/^(#+) (.*)$/gm)]
  const found = lines.find(([, , title]) => title === heading)
  if (found === undefined) throw new Error(`${path} has no heading "${heading}"`)
  const start = found.index
  const level = found[1]!.length
  const end = text.slice(start + level).search(new RegExp(`^#{1,${level}} `, 'm'))
  return end < 0 ? text.slice(start) : text.slice(start, start + level + end)
}

/** The cells of the table rows that begin with a name in code, by that name. */
export function rowsByName(text: string): Map<string, string[]> {
  return new Map(
    [...text.matchAll(/^\| `([^`]+)` \|(.*)\|$/gm)].map(([, name, rest]) => [
      name!,
      rest!.split(' |').map(cell => cell.trim()),
    ]),
  )
}

/** The code blocks of a language, in their order. */
export function codeBlocks(text: string, language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, code]) => code!)
}
