// The handlers of natural-handlers.test.ts: the ways in which applications change a session, with some work on the way.
import type { Session } from '@coatcheck/core'

/** What a visitor's session holds. */
export interface Visit {
  cart: number[]
  prefs: Record<string, number>
  visits: number
}

/** Adds `x` in its way: to the cart, as a name of `prefs`, or as one more visit. */
type Handler<S> = (session: S, x: number, work: () => Promise<void>) => Promise<void>

export const onSession: Record<string, Handler<Session<Visit>>> = {
  "update('cart', (cart) => [...cart, x])": async (session, x, work) => {
    await work()
    session.update('cart', (cart = []) => [...cart, x])
  },
  "cart = get('cart', []); await; cart.push(x); set('cart', cart)": async (session, x, work) => {
    const cart = session.get('cart', [])
    await work()
    cart.push(x)
    session.set('cart', cart)
  },
  "cart = get('cart'); await; cart.push(x)": async (session, x, work) => {
    const cart = session.get('cart')!
    await work()
    cart.push(x)
  },
  "cart = get('cart'); await; set('cart', [...cart, x])": async (session, x, work) => {
    const cart = session.get('cart')!
    await work()
    session.set('cart', [...cart, x])
  },
  "prefs = get('prefs'); await; prefs[name] = 1": async (session, x, work) => {
    const prefs = session.get('prefs')!
    await work()
    prefs[`name${x}`] = 1
  },
  "visits = get('visits'); await; set('visits', visits + 1)": async (session, _, work) => {
    const visits = session.get('visits')!
    await work()
    session.set('visits', visits + 1)
  },
}

export const onExpressSession: Record<string, Handler<Visit>> = {
  'cart = session.cart ?? []; await; cart.push(x); session.cart = cart': async (
    session,
    x,
    work,
  ) => {
    const cart = session.cart ?? []
    await work()
    cart.push(x)
    session.cart = cart
  },
  'cart = session.cart; await; cart.push(x)': async ({ cart }, x, work) => {
    await work()
    cart.push(x)
  },
  'cart = session.cart; await; session.cart = [...cart, x]': async (session, x, work) => {
    const { cart } = session
    await work()
    session.cart = [...cart, x]
  },
  'prefs = session.prefs; await; prefs[name] = 1': async ({ prefs }, x, work) => {
    await work()
    prefs[`name${x}`] = 1
  },
  'visits = session.visits; await; session.visits = visits + 1': async (session, _, work) => {
    const { visits } = session
    await work()
    session.visits = visits + 1
  },
}
