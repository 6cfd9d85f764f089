// Express 5 and 4, Connect and bare node:http: the suite for all adapters.
import { createServer, type RequestListener } from 'node:http'
import { Readable } from 'node:stream'
import { proveAdapter, type Build } from '../../../testing/adapter-suite.ts'
import { frameworks } from '../../../testing/node-frameworks.ts'
import { session } from './index.ts'

/** Answers as a handler of that framework would. */
const build =
  (serve: (handlers: any[]) => RequestListener): Build =>
  (managers, handle) => {
    const middleware = managers.map(({ options, adapter }) => session(options, adapter))
    const handler = async (request: any, response: any, next: (error: unknown) => void) => {
      try {
        const { session: own, other, url } = request
        const visit = { session: own, other, request, url: new URL(url, 'http://localhost') }
        const { status = 200, headers = {}, body = '' } = await handle(visit)
        response.statusCode = status
        for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
        if (typeof body === 'string') response.end(body)
        else {
          Readable.from(body)
            .on('error', (error) => response.destroy(error))
            .pipe(response)
        }
      } catch (error) {
        next(error)
      }
    }
    return createServer(serve([...middleware, handler]))
  }

for (const [name, serve] of Object.entries(frameworks)) await proveAdapter(name, build(serve))
