// The two handlers of "Two at once", one below the other. The page shows their text as it runs.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Response } from 'express'

type Handler = (request: any, response: Response) => Promise<void>

export const coatcheck: Handler = async (request, response) => {
  const cart = request.session.get('cart', [])
  await sleep(20) // asks the database
  cart.push(request.body.product)
  request.session.set('cart', cart)
  response.end()
}

export const expressSession: Handler = async (request, response) => {
  const cart = request.session.cart ?? []
  await sleep(20) // asks the database
  cart.push(request.body.product)
  request.session.cart = cart
  response.end()
}
