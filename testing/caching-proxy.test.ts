// The caching proxy that adapters are tested behind keeps what it may, and would give one visitor's cookie to another.
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { startCachingProxy } from './caching-proxy.ts'

/** What two visitors get of one page, one after the other: how it came, and which cookie with it. */
async function visit(
  headersFor: (request: IncomingHttpHeaders) => OutgoingHttpHeaders,
): Promise<string[]> {
  const origin = createServer((request, response) => {
    const headers = headersFor(request.headers)
    const isKnown = headers['ETag'] && request.headers['if-none-match'] === headers['ETag']
    response.writeHead(isKnown ? 304 : 200, headers).end()
  })
  await once(origin.listen(0, '127.0.0.1'), 'listening')
  const { port } = origin.address() as AddressInfo
  await using proxy = await startCachingProxy(`http://127.0.0.1:${port}`)
  const seen: string[] = []
  for (const user of ['ann', 'bob']) {
    const { headers } = await fetch(proxy.url, { headers: { cookie: `user=${user}` } })
    seen.push(`${headers.get('x-cache')} ${headers.getSetCookie()}`)
  }
  origin.closeAllConnections()
  origin.close()
  return seen
}

const cookieOf = ({ cookie }: IncomingHttpHeaders) => cookie!.replace('user', 'sessionid')
const later = () => new Date(Date.now() + 3_600_000).toUTCString()

test.each<[OutgoingHttpHeaders]>([
  [{}],
  [{ 'Cache-Control': 'public, max-age=60' }],
  [{ 'Cache-Control': 'max-age=0, s-maxage=60' }],
  [{ 'Cache-Control': 'no-cache="Set-Cookie", max-age=60' }],
  [{ 'Cache-Control': 'private="X", max-age=60' }],
  [{ 'Cache-Control': 'private', 'CDN-Cache-Control': 'max-age=60' }],
  [{ 'Cache-Control': 'no-store', 'Surrogate-Control': 'max-age=60' }],
  [{ 'Cache-Control': 'no-store', 'X-Accel-Expires': '60' }],
  [{ 'Last-Modified': 'Mon, 01 Jan 2024 00:00:00 GMT' }],
  [{ Expires: later() }],
])('%j: the second visitor gets the cookie of the first', async (headers) => {
  const seen = await visit((request) => ({ ...headers, 'Set-Cookie': cookieOf(request) }))
  expect(seen).toEqual(['miss sessionid=ann', 'hit sessionid=ann'])
})

test('what has to be asked for again comes with the stored cookie, if nothing has changed', async () => {
  const seen = await visit((request) => ({
    'Cache-Control': 'public, max-age=0',
    ETag: '"1"',
    ...(!request['if-none-match'] && { 'Set-Cookie': cookieOf(request) }),
  }))
  expect(seen).toEqual(['miss sessionid=ann', 'revalidated sessionid=ann'])
})

test.each<[OutgoingHttpHeaders]>([
  [{ 'Cache-Control': 'no-store' }],
  [{ 'Cache-Control': 'private, max-age=60' }],
  [{ 'Cache-Control': 'public, max-age=60', Vary: 'Cookie' }],
  [{ 'Cache-Control': 'public, max-age=60', Vary: '*' }],
  [{ 'Cache-Control': 'public, max-age=60', 'CDN-Cache-Control': 'no-store' }],
  [{ 'X-Accel-Expires': '0' }],
])('%j: each visitor gets a cookie of their own', async (headers) => {
  const seen = await visit((request) => ({ ...headers, 'Set-Cookie': cookieOf(request) }))
  expect(seen).toEqual(['miss sessionid=ann', 'miss sessionid=bob'])
})
