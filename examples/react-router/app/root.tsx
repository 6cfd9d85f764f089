// The document around every page.
import { Outlet } from 'react-router'
import { sessionMiddleware } from './session.server.ts'

export const middleware = [sessionMiddleware]

export default function Root() {
  return (
    <html lang="en">
      <head>
        <meta charSet="utf-8" />
        <title>Coatcheck on React Router</title>
      </head>
      <body>
        <Outlet />
      </body>
    </html>
  )
}
