// Standard handlers: the suite for all adapters, behind Node's server; and what only this adapter has.
import { createAdaptorServer } from '@hono/node-server'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Server } from 'node:http'
import { lruStore } from '@coatcheck/cache/lru'
import { SessionTooLargeError, type Session } from '@coatcheck/core'
import { expect, test } from 'vitest'
import { proveAdapter } from '../../../testing/adapter-suite.ts'
import { toBody } from '../../../testing/wrappers.ts'
import { getSession, withSession } from './index.ts'

await proveAdapter('fetch', ([first, second], handle) => {
  const own = withSession(
    first!.options,
    async (request, session, other: Session<any>) => {
      const {
        status = 200,
        headers = {},
        body = '',
      } = await handle({
        session,
        other,
        request,
        url: new URL(request.url),
      })
      const all = Object.entries(headers).flatMap(([name, values]) =>
        [values].flat().map((value): [string, string] => [name, value]),
      )
      return new Response(toBody(body), { status, headers: all })
    },
    first!.adapter,
  )
  // A second manager is one handler around the other.
  const fetch = second
    ? withSession(
        second.options,
        (request, other: Session<any>) => own(request, other),
        second.adapter,
      )
    : (request: Request) => own(request, undefined as never)
  return createAdaptorServer({
    async fetch(request: Request) {
      try {
        return await fetch(request)
      } catch {
        return new Response('Internal Server Error', { status: 500 })
      }
    },
  }) as Server
})

test('what the platform passes besides the request reaches the handler', async () => {
  const handler = withSession(
    { store: lruStore() },
    (_request, session, context: { id: number }) => {
      return Response.json([session.size, context.id])
    },
  )
  const response = await handler(new Request('http://localhost/'), { id: 7 })
  expect(await response.json()).toEqual([0, 7])
})

test('a response whose headers cannot be changed gets the cookie all the same', async () => {
  const handler = withSession<{ a: number }>({ store: lruStore() }, async (request, session) => {
    session.set('a', 1)
    expect(await getSession(request)).toBe(session)
    return Response.redirect('http://localhost/next')
  })
  const response = await handler(new Request('http://localhost/'))
  expect(response.status).toBe(302)
  expect(response.headers.get('location')).toBe('http://localhost/next')
  expect(response.headers.getSetCookie()).toHaveLength(1)
})

test('onError answers in place of the plain text, and the handler’s own errors are thrown', async () => {
  const store = lruStore({ maxBytes: 10 })
  const handler = withSession<{ text: string }>(
    { store },
    (request, session) => {
      if (request.url.endsWith('/throw')) throw new RangeError('mine')
      session.set('text', 'x'.repeat(100))
      return new Response('never')
    },
    { onError: (error) => Response.json({ code: error.code }, { status: 413 }) },
  )
  const response = await handler(new Request('http://localhost/'))
  expect(response.status).toBe(413)
  expect(await response.json()).toEqual({ code: new SessionTooLargeError('', 1, 1, '').code })
  await expect(handler(new Request('http://localhost/throw'))).rejects.toThrow(RangeError)
})

/** What arrives on the channel of warnings meanwhile. */
async function warningsOf(run: () => unknown): Promise<string[]> {
  const codes: string[] = []
  const listen = (warning: unknown) => void codes.push((warning as { code: string }).code)
  subscribe('coatcheck:warning', listen)
  try {
    await run()
  } finally {
    unsubscribe('coatcheck:warning', listen)
  }
  return codes
}

const visit = new Request('http://localhost/')

/** What a handler throws that has changed the session, and the cookie it goes with. */
async function thrownBy(thrown: unknown, save = false) {
  const store = lruStore()
  const handler = withSession<{ a: number }>({ store }, async (_request, session) => {
    session.set('a', 1)
    if (save) await session.save()
    throw thrown
  })
  const outcome = await handler(visit.clone()).catch((error: unknown) => error)
  const key = (outcome as Response).headers?.getSetCookie()[0]?.match(/^sessionid=(\w+)/)?.[1]
  return { outcome, stored: key && (await store.load(key)) }
}

test('a Response that the handler throws is thrown with the cookie, when its session is saved', async () => {
  const thrown = Response.redirect('http://localhost/next', 303)
  const { outcome, stored } = await thrownBy(thrown)
  const handler = withSession({ store: lruStore() }, () => {
    throw thrown
  })
  await expect(handler(visit.clone())).rejects.toBeInstanceOf(Response)
  expect(outcome).toMatchObject({ status: 303 })
  expect((outcome as Response).headers.get('location')).toBe('http://localhost/next')
  expect(stored).toMatchObject({ data: '{"a":1}' })
})

test.each([
  [
    "Next's redirect()",
    Object.assign(new Error('NEXT_REDIRECT'), { digest: 'NEXT_REDIRECT;replace;/a;b?c=1;307;' }),
    307,
    '/a;b?c=1',
  ],
  [
    "Next's notFound()",
    Object.assign(new Error('x'), { digest: 'NEXT_HTTP_ERROR_FALLBACK;404' }),
    404,
    null,
  ],
  ["SvelteKit's redirect()", { status: 302, location: '/next/é漢' }, 302, '/next/%C3%A9%E6%BC%A2'],
])(
  '%s becomes the response, with the cookie of the session that is saved',
  async (_, thrown, status, location) => {
    const { outcome, stored } = await thrownBy(thrown)
    expect(outcome).toBeInstanceOf(Response)
    expect((outcome as Response).status).toBe(status)
    expect((outcome as Response).headers.get('location')).toBe(location)
    expect(stored).toMatchObject({ data: '{"a":1}' })
  },
)

test('any other error is thrown as it is; if save() has stored a new session before, a warning says that its cookie is lost', async () => {
  const error = Object.assign(new RangeError('mine'), {
    status: 302,
    location: '/',
    digest: '1234',
  })
  expect(await warningsOf(async () => expect((await thrownBy(error)).outcome).toBe(error))).toEqual(
    [],
  )
  const codes = await warningsOf(async () =>
    expect((await thrownBy(error, true)).outcome).toBe(error),
  )
  expect(codes).toEqual(['COOKIE_NOT_SENT'])
})

test('a response that cannot be copied is returned as it is, and a cookie that is due is a warning', async () => {
  const read = new Response('x')
  await read.text()
  for (const response of [Response.error(), read]) {
    const handler = withSession<{ a: number }>({ store: lruStore() }, (request, session) => {
      if (request.url.endsWith('/set')) session.set('a', 1)
      else session.get('a')
      return response
    })
    const at = async (url: string) => expect(await handler(new Request(url))).toBe(response)
    expect(await warningsOf(() => at('http://localhost/'))).toEqual([])
    expect(await warningsOf(() => at('http://localhost/set'))).toEqual(['COOKIE_NOT_SENT'])
  }
})

test('one Response that is made once and returned to all has nobody’s cookie', async () => {
  const shared = new Response(null, { status: 204 })
  const handler = withSession<{ a: number }>({ store: lruStore() }, (request, session) => {
    if (request.url.endsWith('/set')) session.set('a', 1)
    return shared
  })
  const first = await handler(new Request('http://localhost/set'))
  expect(first.headers.getSetCookie()).toHaveLength(1)
  expect((await handler(new Request('http://localhost/'))).headers.getSetCookie()).toEqual([])
  expect(shared.headers.getSetCookie()).toEqual([])
})

test('a save that fails cancels the body, and does not wait for that', async () => {
  let cancelled = 0
  const body = new ReadableStream({
    cancel() {
      cancelled++
      return new Promise(() => {})
    },
  })
  const handler = withSession<{ text: string }>(
    { store: lruStore({ maxBytes: 10 }) },
    (_request, session) => {
      session.set('text', 'x'.repeat(100))
      return new Response(body)
    },
  )
  expect((await handler(visit.clone())).status).toBe(500)
  expect(cancelled).toBe(1)
})

test('of two sessions on one response, the one that was saved keeps its cookie where the other fails', async () => {
  const inner = withSession<{ a: number }>(
    { store: lruStore(), cookie: { name: 'inner' } },
    (_request, session) => {
      session.set('a', 1)
      return new Response('never')
    },
    { property: 'inner' },
  )
  const outer = withSession<{ text: string }>(
    { store: lruStore({ maxBytes: 10 }) },
    (request, session) => {
      session.set('text', 'x'.repeat(100))
      return inner(request)
    },
  )
  const response = await outer(visit.clone())
  expect(response.status).toBe(500)
  expect(await response.text()).not.toContain('never')
  expect(response.headers.getSetCookie()).toEqual([expect.stringMatching(/^inner=/)])
})
