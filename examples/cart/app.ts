// The shop: preferences, a cart, a login, a visit counter and a plain cookie, each a few lines on the session.
import { Buffer } from 'node:buffer'
import { join } from 'node:path'
import type { CookieOptions, Session, SessionStore } from '@coatcheck/core'
import { getSession, session } from '@coatcheck/express'
import { parseCookie } from 'cookie'
import express, { type Express, type Request } from 'express'
import { atOnce } from './at-once.ts'
import { languages, page, products } from './page.ts'
import { sideBySide } from './side-by-side.ts'

/** What this application keeps in a session. */
export interface Shop {
  cart: Record<string, number>
  theme: 'light' | 'dark'
  language: string
  user: string
  visits: number
  notice: string
}

const SIDE_BY_SIDE = '/side-by-side'
const AT_ONCE = '/at-once'

const visitor = (request: Request): Promise<Session<Shop>> => getSession<Shop>(request)
const field = (request: Request, name: string): string =>
  String((request.body as Record<string, unknown> | undefined)?.[name] ?? '').slice(0, 40)

/** The whole demo: the shop over one engine, and the same shop over several, side by side. */
export function createApp(store: SessionStore, others: ReadonlyMap<string, SessionStore>): Express {
  const app = express().disable('x-powered-by')
  app.use('/assets', express.static(join(import.meta.dirname, 'assets')))
  app.use(SIDE_BY_SIDE, sideBySide(SIDE_BY_SIDE, others))
  app.use(AT_ONCE, atOnce(AT_ONCE, store))
  app.use(createShop(store))
  return app
}

/** The shop over one engine. */
export function createShop(store: SessionStore, cookie: CookieOptions = {}): Express {
  const { name = 'sessionid' } = cookie
  const app = express().disable('x-powered-by')
  const sentCookies = recordSentCookies(app, name)

  // Everything below has a session: this is all the set-up there is.
  app.use(session({ store, cookie }), express.urlencoded({ extended: false }))

  app.get('/', async (request, response) => {
    const shopper = await visitor(request)
    shopper.update('visits', (visits = 0) => visits + 1)
    const { favourite } = parseCookie(request.headers.cookie ?? '')
    const stateless = store.traits?.stateless ?? false
    response.send(page({ ...Object.fromEntries(shopper), favourite, stateless }))
  })

  app.post('/cart/add', async (request, response) => {
    const id = field(request, 'product')
    if (products.some((product) => product.id === id)) {
      // Runs again on the newest cart if another tab was faster, so no product is ever lost.
      const shopper = await visitor(request)
      shopper.update('cart', (cart = {}) => ({ ...cart, [id]: (cart[id] ?? 0) + 1 }))
    }
    response.redirect(303, '/')
  })

  app.post('/cart/clear', async (request, response) => {
    const shopper = await visitor(request)
    shopper.delete('cart')
    shopper.flash('notice', 'The cart is empty again.')
    response.redirect(303, '/')
  })

  app.post('/preferences', async (request, response) => {
    const shopper = await visitor(request)
    const [theme, language] = [field(request, 'theme'), field(request, 'language')]
    if (theme === 'light' || theme === 'dark') shopper.set('theme', theme)
    else shopper.delete('theme')
    if (languages.some(({ code }) => code === language)) shopper.set('language', language)
    response.redirect(303, '/')
  })

  app.post('/preferences/clear', async (request, response) => {
    const shopper = await visitor(request)
    shopper.delete('theme')
    shopper.delete('language')
    response.redirect(303, '/')
  })

  app.post('/login', async (request, response) => {
    const user = field(request, 'user').trim()
    if (user) {
      const shopper = await visitor(request)
      // A new key at login, so that one planted before it is worth nothing. The cart comes along.
      shopper.cycleKey()
      shopper.set('user', user)
      shopper.flash('notice', `Hello, ${user}. Your session has a new key; your cart came along.`)
    }
    response.redirect(303, '/')
  })

  app.post('/logout', async (request, response) => {
    const shopper = await visitor(request)
    shopper.flush()
    response.redirect(303, '/goodbye')
  })

  app.get('/goodbye', (_request, response) => {
    // Does not touch the session, so it neither makes one nor asks the store.
    response.send(page({ goodbye: true }))
  })

  app.post('/cookie', (request, response) => {
    const favourite = field(request, 'favourite')
    if (favourite) response.cookie('favourite', favourite, { sameSite: 'lax', maxAge: 86_400_000 })
    else response.clearCookie('favourite', { sameSite: 'lax' })
    response.redirect(303, '/')
  })

  app.get('/panel', async (request, response) => {
    const { [name]: sessionid = '', ...others } = parseCookie(request.headers.cookie ?? '')
    const record = await store.load(sessionid)
    const inCookie = store.traits?.stateless ?? false
    const line = sentCookies.get(sessionid)
    response.set('Cache-Control', 'no-store').json({
      browser: { sessionid, others, line, lineBytes: line && Buffer.byteLength(line) },
      house: record && { inCookie, bytes: Buffer.byteLength(record.data), ...record },
    })
  })

  return app
}

/** Notes the last Set-Cookie line of the latest sessions, for the panel: the browser hides it from scripts. */
function recordSentCookies(app: Express, name: string): Map<string, string> {
  const lines = new Map<string, string>()
  app.use((_request, response, next) => {
    response.once('finish', () => {
      for (const line of [response.getHeader('Set-Cookie') ?? []].flat().map(String)) {
        if (!line.startsWith(`${name}=`)) continue
        const key = line.slice(name.length + 1).split(';', 1)[0]!
        if (key === '') continue
        lines.delete(key)
        lines.set(key, line)
      }
      for (const oldest of lines.keys()) if (lines.size > 1000) lines.delete(oldest)
    })
    next()
  })
  return lines
}
