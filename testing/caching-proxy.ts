// A caching proxy for tests: a shared cache by RFC 9111, set up as carelessly as some are. It keeps Set-Cookie with a response.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A proxy that serves. */
export interface CachingProxy extends AsyncDisposable {
  readonly url: string
}

/** What was stored of a response. */
interface Stored {
  readonly status: number
  readonly headers: [string, string][]
  readonly body: Buffer
  /** The request's headers that it was chosen by. */
  readonly chosenBy: readonly (readonly [name: string, value: string | undefined])[]
  /** In ms since the epoch. */
  readonly freshUntil: number
}

/** For how long, in seconds, it keeps a response that says nothing, as Varnish does by default. */
const DEFAULT_TTL = 120

/** What is not passed on: the body is sent anew. */
const OF_THE_CONNECTION = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'content-length',
  'content-encoding',
])

/** What it reads, the first that is there. X-Accel-Expires goes before them. */
const TARGETED = ['cdn-cache-control', 'surrogate-control', 'cache-control']

/**
 * Starts a shared cache in front of `origin`. It answers with `X-Cache: hit`, `miss`, or `revalidated`.
 * @see https://www.rfc-editor.org/rfc/rfc9111
 */
export async function startCachingProxy(origin: string): Promise<CachingProxy> {
  const cache = new Map<string, Stored[]>()

  async function answer(request: IncomingMessage, response: ServerResponse) {
    const url = request.url!
    const isCacheable = request.method === 'GET' && !request.headers.authorization
    const variants = cache.get(url) ?? []
    const known = isCacheable ? variants.find((one) => matches(one, request)) : undefined
    if (known && known.freshUntil > Date.now()) return send(response, known, 'hit')
    const etag = known?.headers.find(([name]) => name === 'etag')?.[1]
    const { status, headers, body } = await ask(origin, request, etag)
    if (known && etag && status === 304) {
      // What it has goes out, with what is new: a Set-Cookie of the stored response too (section 4.3.4).
      const isNew = ([name]: [string, string]) => !headers.some((one) => one[0] === name)
      const merged = store({ ...known, headers: [...known.headers.filter(isNew), ...headers] })
      return send(response, merged, 'revalidated')
    }
    send(response, store({ status, headers, body }), 'miss')

    function store(fresh: Pick<Stored, 'status' | 'headers' | 'body'>): Stored {
      const get = (name: string) => valueOf(fresh.headers, name)
      const lifetime = isCacheable && fresh.status === 200 ? lifetimeOf(get) : undefined
      const names = (get('vary') ?? '')
        .split(',')
        .flatMap((name) => name.trim().toLowerCase() || [])
      const chosenBy = names.map((name) => [name, request.headers[name]?.toString()] as const)
      const stored = { ...fresh, chosenBy, freshUntil: Date.now() + (lifetime ?? 0) * 1000 }
      const others = variants.filter((one) => one !== known && !matches(one, request))
      const isStored = lifetime !== undefined && !names.includes('*')
      cache.set(url, isStored ? [...others, stored] : others)
      return stored
    }
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => response.destroy(error as Error))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

/** Asks the origin, on a condition if something is stored. */
async function ask(origin: string, request: IncomingMessage, etag: string | undefined) {
  const headers = new Headers()
  if (request.headers.cookie) headers.set('Cookie', request.headers.cookie)
  if (etag) headers.set('If-None-Match', etag)
  const url = origin + request.url!
  const response = await fetch(url, { method: request.method!, headers, redirect: 'manual' })
  const body = Buffer.from(await response.arrayBuffer())
  const kept = [...response.headers].filter(([name]) => !OF_THE_CONNECTION.has(name))
  return { status: response.status, headers: kept, body }
}

function send(response: ServerResponse, { status, headers, body }: Stored, how: string): void {
  response.statusCode = status
  for (const [name, value] of headers) response.appendHeader(name, value)
  response.setHeader('X-Cache', how)
  response.end(body)
}

function matches({ chosenBy }: Stored, { headers }: IncomingMessage): boolean {
  return chosenBy.every(([name, value]) => headers[name]?.toString() === value)
}

function valueOf(headers: readonly [string, string][], name: string): string | undefined {
  const values = headers.flatMap(([own, value]) => (own === name ? [value] : []))
  return values.length > 0 ? values.join(', ') : undefined
}

/** For how many seconds a response is fresh, 0 if it must be asked for again each time; undefined if it must not be stored. */
function lifetimeOf(get: (name: string) => string | undefined): number | undefined {
  const nginx = get('x-accel-expires')
  if (nginx !== undefined) return Number(nginx) > 0 ? Number(nginx) : undefined
  const said = TARGETED.map(get).find((value) => value !== undefined)
  const directives = new Map(
    Array.from((said ?? '').matchAll(/([\w-]+)(?:="?([^",]*)"?)?/g), ([, name, value]) => [
      name!.toLowerCase(),
      value,
    ]),
  )
  if (directives.has('no-store')) return undefined
  if (directives.has('private') && directives.get('private') === undefined) return undefined
  if (directives.has('no-cache') && directives.get('no-cache') === undefined) return 0
  const age = directives.get('s-maxage') ?? directives.get('max-age')
  if (age !== undefined) return Number(age)
  const expires = get('expires')
  if (expires !== undefined) return Math.max(0, (Date.parse(expires) - Date.now()) / 1000 || 0)
  const modified = Date.parse(get('last-modified') ?? '')
  return Number.isNaN(modified) ? DEFAULT_TTL : (Date.now() - modified) / 10_000
}
