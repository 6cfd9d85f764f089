// socket.io: the middleware on its engine, whose response to a WebSocket is not Node's.
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createSessions, type Sessions } from '@coatcheck/core'
import { sqliteStore } from '@coatcheck/db/sqlite'
import { Server, type Socket } from 'socket.io'
import { io } from 'socket.io-client'
import { afterEach, describe, expect, test } from 'vitest'
import { slow } from '../../../testing/wrappers.ts'
import { session } from './index.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

async function serve(sessions: Sessions<any>) {
  const http = createServer()
  const server = new Server(http)
  server.engine.use(session(sessions))
  server.on('connection', async (socket: Socket) => {
    const visitor = (socket.request as unknown as { session: Map<string, string> }).session
    socket.emit('user', visitor.get('user') ?? null)
  })
  await once(http.listen(0, '127.0.0.1'), 'listening')
  closing.push(() => server.close())
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  return (cookie: string, transport: string) =>
    new Promise((resolve, reject) => {
      const client = io(url, {
        transports: [transport],
        reconnection: false,
        forceNew: true,
        extraHeaders: { cookie },
      })
      closing.push(() => client.close())
      client.on('user', resolve)
      client.on('connect_error', reject)
    })
}

function freshStore() {
  const store = sqliteStore(':memory:')
  store.migrate()
  return store
}

const stores = {
  'a synchronous store': freshStore,
  'an asynchronous store': () => slow(freshStore()),
}

describe.each(Object.entries(stores))('io.engine.use(session(…)) over %s', (_name, openStore) => {
  test.each(['websocket', 'polling'])(
    'a %s reads its session, and a stranger with any cookie harms nobody',
    async (transport) => {
      const sessions = createSessions<any>({ store: openStore(), saveEveryRequest: true })
      const ann = await sessions.open(undefined)
      ann.set('user', 'ann')
      const [cookie] = (await sessions.commit(ann)).setCookie!.split(';')
      const connect = await serve(sessions)
      for (const stranger of ['', 'sessionid=%00bad', `sessionid=${'k'.repeat(32)}`]) {
        expect(await connect(stranger, transport)).toBeNull()
      }
      expect(await connect(cookie!, transport)).toBe('ann')
    },
  )
})
