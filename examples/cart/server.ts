// Starts the demo: opens the engine that is asked for, finds a port, prints the address.
import type { Server } from 'node:http'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { SessionStore } from '@coatcheck/core/store'
import type { Express } from 'express'
import { createApp } from './app.ts'
import { embedded, engineNames, openEngine } from './engines.ts'

const stores: SessionStore[] = []
try {
  await start()
} catch (error) {
  // What went wrong, in a line, and below it what the driver says.
  const { message, cause } = error as Error
  console.error(message)
  if (cause instanceof Error)
    console.error(`  ${cause.message || (cause as { code?: string }).code}`)
  await closeStores()
  process.exitCode = 1
}

async function start(): Promise<void> {
  const { engine } = parseArgs({
    options: { engine: { type: 'string', default: 'sqlite' } },
  }).values
  const folder = process.env['SESSIONS_FOLDER'] ?? join(import.meta.dirname, 'data')
  const store = await open(engine, folder)
  const others = new Map<string, SessionStore>()
  for (const name of embedded) others.set(name, await open(name, join(folder, 'side-by-side')))

  const wanted = process.env['PORT']
  const app = createApp(store, others)
  const server = await listen(app, wanted === undefined ? 3000 : Number(wanted), !wanted)
  const { port } = server.address() as { port: number }
  console.log(`The cart demo is at http://localhost:${port}  (sessions by the engine '${engine}')`)
  console.log(
    store.traits?.ephemeral
      ? 'This engine forgets everything when the demo stops.'
      : 'Stop it with Ctrl+C and start it again: the cart will still be there.',
  )
  console.log(`Other engines: pnpm start --engine ${engineNames.join('|')}`)

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      server.close(() => void closeStores())
      server.closeAllConnections()
    })
  }
}

async function open(name: string, folder: string): Promise<SessionStore> {
  const store = await openEngine(name, folder)
  stores.push(store)
  return store
}

async function closeStores(): Promise<void> {
  for (const store of stores) await store.close?.()
}

/** Listens on `port`, or, where `orNext` allows, on the next one that is free. */
function listen(app: Express, port: number, orNext: boolean): Promise<Server> {
  return new Promise((resolve, reject) => {
    const candidate = app.listen(port, (error?: Error & { code?: string }) => {
      if (!error) resolve(candidate)
      else if (error.code === 'EADDRINUSE' && orNext && port < 65_535) {
        resolve(listen(app, port + 1, orNext))
      } else if (error.code === 'EADDRINUSE') {
        reject(new Error(`Port ${port} is taken. Choose another one: PORT=${port + 1}`))
      } else reject(error)
    })
  })
}
