// The same shop over every embedded engine at once: one click changes all their carts, and one table shows what each keeps.
import type { SessionStore } from '@coatcheck/core/store'
import express, { type Router } from 'express'
import { createShop } from './app.ts'
import { sideBySidePage } from './page.ts'

/** Serves the table at `/`, and each engine's shop at `/<engine>`, with a cookie of its own. */
export function sideBySide(path: string, stores: ReadonlyMap<string, SessionStore>): Router {
  const router = express.Router()
  router.get('/', (_request, response) => {
    response.send(sideBySidePage([...stores.keys()]))
  })
  for (const [name, store] of stores) {
    // Each engine's cookie goes to its own shop alone.
    router.use(
      `/${name}`,
      createShop(store, { name: `sessionid-${name}`, path: `${path}/${name}` }),
    )
  }
  return router
}
