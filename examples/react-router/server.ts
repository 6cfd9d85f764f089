// Serves what `react-router build` has made.
import { serve } from '@hono/node-server'
import { createRequestHandler, type ServerBuild } from 'react-router'

const build: ServerBuild = await import(new URL('./build/server/index.js', import.meta.url).href)
const handle = createRequestHandler(build)

serve(
  { fetch: (request) => handle(request), port: Number(process.env['PORT'] ?? 3000) },
  ({ port }) => {
    console.log(`http://localhost:${port}`)
  },
)
