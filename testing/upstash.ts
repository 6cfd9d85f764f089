// Upstash's REST protocol in front of a real Redis: a command, or a pipeline of them, as JSON by HTTP.
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { Redis } from 'ioredis'

/** What a client is given, and how it ends. */
export interface UpstashServer {
  readonly url: string
  readonly token: string
  /** What is asked next is done, and its answer lost with its connection. */
  loseAnswer(): void
  close(): void
}

const TOKEN = 'a-token'

/** Serves the Redis of a URL as Upstash does. */
export async function openUpstash(redisUrl: string): Promise<UpstashServer> {
  const redis = new Redis(redisUrl, {
    maxRetriesPerRequest: 0,
    retryStrategy: () => 50,
  }).on('error', () => {})

  /** In base64, where the client asks for it: all text but OK. */
  const encoded = (value: unknown, isEncoded: boolean): unknown => {
    if (Array.isArray(value)) return value.map((one) => encoded(one, isEncoded))
    if (!Buffer.isBuffer(value)) return value
    const text = value.toString()
    return !isEncoded || text === 'OK' ? text : value.toString('base64')
  }

  async function run(command: unknown[], isEncoded: boolean): Promise<object> {
    try {
      const [name, ...args] = command.map(String)
      return { result: encoded(await redis.callBuffer(name!, ...args), isEncoded) }
    } catch (error) {
      return { error: (error as Error).message }
    }
  }

  async function answer(request: IncomingMessage): Promise<[status: number, body: object]> {
    if (request.headers.authorization !== `Bearer ${TOKEN}`) {
      return [401, { error: 'WRONGPASS invalid or missing auth token' }]
    }
    const isEncoded = request.headers['upstash-encoding'] === 'base64'
    const body = (await json(request)) as unknown[]
    if (request.url === '/pipeline') {
      const commands = body as unknown[][]
      return [200, await Promise.all(commands.map((command) => run(command, isEncoded)))]
    }
    const result = await run(body, isEncoded)
    return ['error' in result ? 400 : 200, result]
  }

  let isLost = false
  const server = createServer(async (request, response) => {
    const [status, body] = await answer(request)
    if (isLost) {
      isLost = false
      response.destroy()
      return
    }
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  server.unref()
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token: TOKEN,
    loseAnswer: () => void (isLost = true),
    close() {
      server.close()
      server.closeAllConnections()
      redis.disconnect()
    },
  }
}
