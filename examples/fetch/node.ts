// The handler on Node: node node.ts
import { serve } from '@hono/node-server'
import { handler } from './handler.ts'

serve(
  { fetch: (request) => handler(request), port: Number(process.env['PORT'] ?? 3000) },
  ({ port }) => {
    console.log(`http://localhost:${port}`)
  },
)
