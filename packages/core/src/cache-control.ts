// What a response says to caches, and what it must say instead where it carries a session's cookie. Pure.
import { systemClock } from './clock.ts'

/** Reads a response's header: several values as one, joined by commas; undefined or null for none. */
export type GetHeader = (name: string) => string | null | undefined

/**
 * What CDNs and proxies obey before Cache-Control.
 * @see https://www.rfc-editor.org/rfc/rfc9213 Targeted HTTP Cache Control
 */
const TARGETED = [
  'CDN-Cache-Control',
  'Cloudflare-CDN-Cache-Control',
  'Netlify-CDN-Cache-Control',
  'Vercel-CDN-Cache-Control',
  'Surrogate-Control',
  'Akamai-Cache-Control',
  'Edge-Control',
  'X-LiteSpeed-Cache-Control',
]

/** nginx': seconds, `@` and a time, or 0 for "do not keep". It goes before all others. */
const NGINX = 'X-Accel-Expires'

const BEYOND_CACHE_CONTROL = new Set([...TARGETED, NGINX].map((name) => name.toLowerCase()))

/** Whether one of these headers is obeyed by CDNs or proxies before Cache-Control. @param names In small letters. */
export function goesBeforeCacheControl(names: readonly string[]): boolean {
  return names.some((name) => BEYOND_CACHE_CONTROL.has(name))
}

/** What only a shared cache reads, and what `private` stands in for. */
const SHARED_ONLY = new Set(['public', 's-maxage', 'proxy-revalidate', 'private'])

/** A header that is to be set anew. */
export interface HeaderChange {
  readonly name: string
  /** What the handler has set; empty for nothing. */
  readonly before: string
  readonly after: string
  /** Whether the handler had asked shared caches to keep the response. */
  readonly wasShared: boolean
}

/**
 * Whether a response's own headers tell shared caches (a CDN, a proxy) to keep it: `public`, `immutable`, `s-maxage`, `max-age`,
 * a later `Expires` without a Cache-Control, or what CDNs and proxies obey before those. A response that says nothing is not meant.
 * @see https://www.rfc-editor.org/rfc/rfc9111#section-3
 */
export function isSharedResponse(get: GetHeader): boolean {
  if (TARGETED.some((name) => asksToShare(parse(get(name))))) return true
  if (lastsInNginx(get(NGINX) ?? '')) return true
  const cacheControl = get('Cache-Control')
  if (cacheControl) return asksToShare(parse(cacheControl))
  return Date.parse(get('Expires') ?? '') > systemClock()
}

/** What keeps a response with a session's cookie out of every shared cache. What does so already stays as it is. */
export function changesToKeepPrivate(get: GetHeader): HeaderChange[] {
  const changes: HeaderChange[] = []
  const cacheControl = parse(get('Cache-Control'))
  if (!isPrivate(cacheControl)) {
    const kept = cacheControl.all.filter(({ name }) => !SHARED_ONLY.has(name))
    const isNothing = cacheControl.all.length === 0 || cacheControl.isBroken
    const after = isNothing ? 'no-store' : ['private', ...kept.map(({ text }) => text)].join(', ')
    changes.push(changeOf('Cache-Control', cacheControl, after))
  }
  for (const name of TARGETED) {
    const field = parse(get(name))
    if (field.all.length === 0 || isPrivate(field)) continue
    // Which markup a surrogate is to process has nothing to do with keeping it.
    const markup = field.all.filter((one) => one.name === 'content' && !field.isBroken)
    const after = ['no-store', ...markup.map(({ text }) => text)].join(', ')
    changes.push(changeOf(name, field, after))
  }
  const nginx = get(NGINX) ?? ''
  if (nginx !== '' && nginx !== '0') {
    changes.push({ name: NGINX, before: nginx, after: '0', wasShared: lastsInNginx(nginx) })
  }
  return changes
}

/** One word of Cache-Control. */
interface Directive {
  /** In small letters. */
  readonly name: string
  /** Without its quotes; undefined where there is none. */
  readonly value: string | undefined
  /** As it was written. */
  readonly text: string
}

/** A header of the form of Cache-Control. */
interface Field {
  readonly text: string
  readonly all: readonly Directive[]
  /** A quote is not closed, so that each cache may read it in a way of its own. */
  readonly isBroken: boolean
}

const NOTHING: Field = { text: '', all: [], isBroken: false }

function parse(text: string | null | undefined): Field {
  if (!text) return NOTHING
  // Between commas, but for those in quotes.
  const parts = text.match(/(?:"(?:\\.|[^"\\])*"|[^,"]|"[^]*$)+/g) ?? []
  const all = parts
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part): Directive => {
      const [name = '', ...rest] = part.split('=')
      const value =
        rest.length > 0
          ? rest
              .join('=')
              .trim()
              .replace(/^"([^]*)"$/, '$1')
          : undefined
      return { name: name.trim().toLowerCase(), value, text: part }
    })
  const isBroken = text.replace(/"(?:\\.|[^"\\])*"/g, '').includes('"')
  return { text, all, isBroken }
}

/** Whether no shared cache may keep it. `private="X"` keeps a header of that name out, and not the response. */
function isPrivate({ all, isBroken }: Field): boolean {
  const says = (wanted: string) =>
    all.some(({ name, value }) => name === wanted && value === undefined)
  // A cache that knows must-understand does not read the no-store beside it (RFC 9111, section 5.2.2.3).
  return !isBroken && (says('private') || (says('no-store') && !says('must-understand')))
}

/** Whether the header asks shared caches to keep the response. */
function asksToShare(field: Field): boolean {
  if (isPrivate(field)) return false
  return field.all.some(
    ({ name, value }) =>
      name === 'public' ||
      name === 'immutable' ||
      ((name === 's-maxage' || name === 'max-age') && Number(value) > 0),
  )
}

function lastsInNginx(value: string): boolean {
  return value.startsWith('@') || Number(value) > 0
}

function changeOf(name: string, field: Field, after: string): HeaderChange {
  return { name, before: field.text, after, wasShared: asksToShare(field) }
}
