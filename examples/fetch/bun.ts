// The handler on Bun: bun run bun.ts
import { handler } from './handler.ts'

declare const Bun: {
  serve(options: { port: number; fetch: (request: Request) => unknown }): { port: number }
}

const { port } = Bun.serve({
  port: Number(process.env['PORT'] ?? 3000),
  fetch: (request) => handler(request),
})
console.log(`http://localhost:${port}`)
