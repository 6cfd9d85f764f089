// Where the cookies stand: the Cookie header of a request, and the Set-Cookie lines of a response, whatever the framework.
import { SessionUsageError } from '@coatcheck/core'

/** A request of Node, Express, Fastify, Koa (`ctx`), Hono (`c`) or fetch. */
export type RequestLike =
  | { readonly headers: { readonly cookie?: string | undefined } }
  | { readonly headers: { get(name: string): string | null } }
  | { readonly req: { header(name: string): string | undefined } }

/** A response of Node, Express, Fastify (`reply`), Koa (`ctx`), Hono (`c`), a fetch `Response`, or `Headers`. */
export type ResponseLike =
  | NodeResponse
  | FastifyReply
  | { readonly res: { readonly headers: Headers } }
  | { readonly res: NodeResponse }
  | { readonly headers: Headers }
  | Headers

interface NodeResponse {
  getHeader(name: string): number | string | string[] | undefined
  setHeader(name: string, value: string[]): unknown
}

interface FastifyReply {
  getHeader(name: string): number | string | string[] | undefined
  removeHeader(name: string): unknown
  header(name: string, value: string[]): unknown
}

/** The Cookie header; undefined if the browser sent none. */
export function readCookieHeader(request: RequestLike): string | undefined {
  // Koa's ctx has a `req` too, but its headers are at hand.
  if (!('headers' in request)) return request.req.header('Cookie')
  const { headers } = request
  if (typeof (headers as Headers).get === 'function') {
    return (headers as Headers).get('Cookie') ?? undefined
  }
  return (headers as { cookie?: string }).cookie
}

/** Replaces the response's Set-Cookie lines by what `change` makes of them. */
export function setCookieLines(
  response: ResponseLike,
  change: (lines: readonly string[]) => string[],
): void {
  const headers = headersOf(response)
  if (headers) {
    const lines = change(headers.getSetCookie())
    try {
      headers.delete('Set-Cookie')
    } catch {
      throw new SessionUsageError(
        'The cookie cannot be set: the headers of this response cannot be changed, as those of Response.redirect() and of what fetch() answers. Give a copy, new Response(response.body, response), and send that.',
        'ERR_COOKIE',
      )
    }
    for (const line of lines) headers.append('Set-Cookie', line)
    return
  }
  const node = ('res' in response ? response.res : response) as NodeResponse | FastifyReply
  const lines = change([node.getHeader('Set-Cookie') ?? []].flat().map(String))
  if ('setHeader' in node) node.setHeader('Set-Cookie', lines)
  else {
    // Fastify's `header` would add to what is there.
    node.removeHeader('Set-Cookie')
    node.header('Set-Cookie', lines)
  }
}

/** The standard headers of a response that has them. */
function headersOf(response: ResponseLike): Headers | undefined {
  if (response instanceof Headers) return response
  for (const holder of ['res' in response ? response.res : undefined, response]) {
    if (holder && 'headers' in holder && holder.headers instanceof Headers) return holder.headers
  }
  return undefined
}
