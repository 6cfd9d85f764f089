// The handler on Deno: deno run --allow-net --allow-env --allow-read deno.ts
import process from 'node:process'
import { handler } from './handler.ts'

declare const Deno: {
  serve(
    options: { port: number; onListen(address: { port: number }): void },
    fetch: (request: Request) => unknown,
  ): void
}

Deno.serve(
  {
    port: Number(process.env['PORT'] ?? 3000),
    onListen: ({ port }) => console.log(`http://localhost:${port}`),
  },
  (request) => handler(request),
)
