// What a browser is told to throw away at a logout: the header Clear-Site-Data.

/** What browsers know to throw away. */
const KINDS = [
  'cache',
  'clientHints',
  'cookies',
  'executionContexts',
  'prefetchCache',
  'prerenderCache',
  'storage',
] as const

/**
 * One word of the header Clear-Site-Data.
 * @see https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Clear-Site-Data
 */
export type SiteData = (typeof KINDS)[number] | '*'

/** Calls `refuse` with the reason if the option `clearSiteData` is not a list of words that browsers know. */
export function assertSiteData(option: unknown, refuse: (reason: string) => void): void {
  if (option === undefined) return
  const words = [...KINDS, '*']
  if (!Array.isArray(option) || option.length === 0) {
    return refuse(`\`clearSiteData\` must be a list with some of ${words.join(', ')}`)
  }
  for (const word of option) {
    if (words.includes(word)) continue
    const meant = probablyMeant(String(word))
    const advice = meant ? `Did you mean '${meant}'?` : `There are ${words.join(', ')}`
    refuse(`\`clearSiteData\` knows no '${String(word)}'. ${advice}`)
  }
}

/** In other letters, one letter more, or as a part: `Cookie`, `localStorage`. */
function probablyMeant(word: string): SiteData | undefined {
  const letters = word.toLowerCase().replace(/[^a-z]/g, '')
  if (letters === '') return undefined
  return KINDS.find((kind) => {
    const known = kind.toLowerCase()
    return (
      letters.includes(known) || known.includes(letters) || known.startsWith(letters.slice(0, 4))
    )
  })
}

/**
 * The header's value.
 * @param keepsCookies A cookie goes out beside it: browsers would throw that away too, so cookies are left out.
 */
export function siteDataHeader(
  words: readonly SiteData[],
  keepsCookies: boolean,
): string | undefined {
  const all = keepsCookies && words.includes('*') ? KINDS : words
  const sent = all.filter((word) => !(keepsCookies && word === 'cookies'))
  return sent.length > 0 ? sent.map((word) => `"${word}"`).join(', ') : undefined
}

/** What is to be thrown away by two headers together. */
export function joinSiteData(present: string | null | undefined, more: string): string {
  if (!present) return more
  const words = [...present.split(','), ...more.split(',')].map((word) => word.trim())
  return [...new Set(words)].filter((word) => word !== '').join(', ')
}
