// Standard handlers: the suite for all adapters, behind Node's server; and what only this adapter has.
import { createAdaptorServer } from '@hono/node-server'
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
