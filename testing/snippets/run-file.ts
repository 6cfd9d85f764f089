// Runs one of a page's files to its end, visits what it serves, and says what was answered: node run-file.ts <file> <routes as JSON>
import { once } from 'node:events'
import { Server, type AddressInfo } from 'node:net'
import { pathToFileURL } from 'node:url'

const [, , file, routes] = process.argv
/** Those that listen, and that the file has not closed itself. */
const servers = new Set<Server>()

// Whatever port the page says: another test may have it.
const { listen, close } = Server.prototype
Server.prototype.listen = function listenAnywhere(this: Server, ...args: unknown[]) {
  servers.add(this)
  const callback = args.findLast((arg) => typeof arg === 'function') as (() => void) | undefined
  return listen.call(this, { port: 0, host: '127.0.0.1' }, callback)
}

Server.prototype.close = function closeForGood(this: Server, callback) {
  servers.delete(this)
  return close.call(this, callback)
}

const exported = await import(pathToFileURL(file!).href)
const handler = exported.default?.fetch ?? exported.handler
for (const [method, path] of JSON.parse(routes!) as [string, string][]) {
  for (const server of servers) {
    if (!server.listening) await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const url = `http://127.0.0.1:${port}${path}`
    say(method, path, await fetch(url, { method, redirect: 'manual' }))
  }
  if (handler) say(method, path, await handler(new Request(`http://localhost${path}`, { method })))
}
// Of a store whose server is there, a file that serves nothing has opened it at least: all that it began is done.
process.exit(0)

function say(method: string, path: string, { status }: Response) {
  console.log(`answered ${method} ${path}: ${status}`)
}
