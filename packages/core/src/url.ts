// URLs as applications give them: looked at before a driver sees them, and refused in words that show nothing of them.
import { refuseOption } from './options.ts'

/**
 * Takes a URL apart, as a driver does.
 * @param by The function that was given it, as an error names it.
 * @throws SessionUsageError (code ERR_SESSION_OPTIONS) for one that cannot be read.
 */
export function readUrl(by: string, text: string): URL {
  if (isCutShort(text)) refuseUrl(by)
  try {
    const url = new URL(text)
    for (const part of [url.username, url.password, url.pathname]) decodeURIComponent(part)
    return url
  } catch {
    // The error has the URL on it, with its password.
    return refuseUrl(by)
  }
}

/** What servers listen at, by default, and PgBouncer: no password begins so. */
const PORTS: ReadonlySet<string> = new Set(['3306', '5432', '6379', '6432'])

/**
 * Whether a password ends the host's part of a URL by a `/`, `?` or `#` that is not escaped: the `@` is behind it. Of `name:12345/x@y` nobody
 * can tell; it is taken for a user and a password, as the other way round it would be shown, and sent. Drivers throw away what is behind a `#`:
 * with an `@` in it, it is a password's rest and the host, also where an `@` stands before it.
 */
export function isCutShort(text: string): boolean {
  if (/^[^/?#]*\/\/[^#]*#.*@/s.test(text)) return true
  const [, rest, end, behind] = /^[^/]*\/\/[^/?#@:[\]]*:([^/?#@]+)([/?#])(.*@.*)$/s.exec(text) ?? []
  if (rest === undefined || PORTS.has(rest)) return false
  const isPort = /^\d+$/.test(rest)
  // A path without an @, and parameters with their values.
  const isRead = isPort && end === '/' && /^[^@?#]*\?(?:\w+=[^&#]*(?:&|$))+$/.test(behind!)
  return !isRead
}

/** @throws SessionUsageError (code ERR_SESSION_OPTIONS), always: a driver's own error may hold the URL. */
export function refuseUrl(by: string): never {
  refuseOption(
    `${by}: the URL cannot be read; is a character of the password not escaped (encodeURIComponent)?`,
  )
}

/**
 * What is wrong with a text that is to be a URL or a file's name, in an error's words that show nothing of it.
 * @param start What a URL begins with: `redis://`. Left out for a file's name.
 */
export function wrongText(text: string, start?: string): string {
  if (text === '') return 'empty text'
  if (/^["'`]/.test(text)) return 'text that begins with a quote'
  if (/^\s/.test(text)) return 'text that begins with a space'
  if (/\s$/.test(text)) return 'text that ends with a space'
  if (text.includes('\0')) return 'text with a NUL in it'
  if (/^\w+\s*=/.test(text)) return 'text that begins with a name and an equals sign'
  return start ? `text that does not begin with ${start}` : 'a URL'
}
