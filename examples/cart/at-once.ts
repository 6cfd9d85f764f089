// Twenty requests at once against one cart: on the demo's engine, and on express-session with its MemoryStore.
import { randomUUID } from 'node:crypto'
import type { SessionStore } from '@coatcheck/core/store'
import { session } from '@coatcheck/express'
import express, { type Router } from 'express'
import expressSession from 'express-session'
import * as add from './at-once-handlers.ts'
import { products } from './page.ts'

/**
 * Serves `begin`, `add` and `end` below `/coatcheck` and below `/express-session`; the page's script calls them.
 *
 * Each try fills a cart in a session of its own, whose cookie comes nowhere else. So the visitor's cart and record stay as they
 * are, whatever is lost here (with signed cookies, twenty requests on the shop's session could also undo what another tab does
 * meanwhile), both sides have the same conditions, and `end` leaves nothing that the visitor would have to clear.
 */
export function atOnce(path: string, store: SessionStore): Router {
  const ours = express.Router()
  ours.use(session({ store, cookie: { name: 'at-once', path: `${path}/coatcheck` } }))
  ours.post('/begin', (request: any, response) => {
    // What an abandoned try still sends comes with the old key, and is not counted.
    request.session.flush()
    request.session.set('cart', [])
    response.end()
  })
  ours.post('/add', add.coatcheck)
  ours.post('/end', (request: any, response) => {
    const cart = request.session.get('cart', [])
    request.session.flush()
    response.json(cart)
  })

  const theirs = express.Router()
  theirs.use(
    expressSession({
      secret: randomUUID(),
      resave: false,
      saveUninitialized: false,
      cookie: { path: `${path}/express-session` },
    }),
  )
  theirs.post('/begin', (request: any, response, next) => {
    request.session.regenerate((error: unknown) => {
      if (error) return next(error)
      request.session.cart = []
      response.end()
    })
  })
  theirs.post('/add', add.expressSession)
  theirs.post('/end', (request: any, response, next) => {
    const { cart = [] } = request.session
    request.session.destroy((error: unknown) => (error ? next(error) : response.json(cart)))
  })

  const router = express.Router()
  router.use(express.urlencoded({ extended: false }))
  router.post('/:side/add', (request, response, next) => {
    if (products.some(({ id }) => id === request.body?.product)) next()
    else response.status(400).end()
  })
  return router.use('/coatcheck', ours).use('/express-session', theirs)
}
