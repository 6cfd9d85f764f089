// A standard handler: a visit counter and a login, with the session in its own cookie, encrypted. It runs on any runtime.
import { withSession } from '@coatcheck/fetch'
import { signedCookieStore } from '@coatcheck/signed-cookie'

interface Visitor {
  visits: number
  user: string
}

const secret = process.env['SESSION_SECRET'] ?? 'a secret for this example, 32 letters or more'
const store = signedCookieStore({ secrets: [secret], encrypt: true })

export const handler = withSession<Visitor>({ store }, (request, visitor) => {
  const { pathname } = new URL(request.url)
  const home = new URL('/', request.url)
  if (pathname === '/login') {
    visitor.cycleKey()
    visitor.set('user', 'ann')
    return Response.redirect(home)
  }
  if (pathname === '/logout') {
    visitor.flush()
    return Response.redirect(home)
  }
  visitor.update('visits', (visits = 0) => visits + 1)
  return Response.json({ visits: visitor.get('visits'), user: visitor.get('user') })
})
