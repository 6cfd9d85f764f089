// Bun's own client: `Bun.redis`, or a `RedisClient` of Bun's.
import { byHash, type Link, type LinkEvents } from './link.ts'

/** As much of Bun's `RedisClient` as the engine uses. */
export interface BunClient {
  readonly connected: boolean
  send(command: string, args: string[]): Promise<unknown>
  getBuffer(key: string): Promise<unknown>
  connect(): Promise<unknown>
  close(): void
}

/**
 * A client as the engine calls it. It has one place for a listener, which is the application's: that it is connected is told by
 * `connect()`, and that it is not any more by what it was asked.
 */
export function bunLink(client: BunClient): Link {
  let isConnecting = false
  /** How often it was asked to connect anew. */
  let reconnects = 0
  let events: LinkEvents | undefined

  function connect(): void {
    isConnecting = true
    client.connect().then(
      () => {
        isConnecting = false
        events?.ready()
      },
      (error: unknown) => {
        isConnecting = false
        events?.trouble(error)
        events?.closed()
      },
    )
  }

  return {
    place: 'client of Bun',
    state: () => (isConnecting ? 'connecting' : client.connected ? 'ready' : 'idle'),
    script: (lua) =>
      byHash(lua, (command, script, key, args) =>
        client.send(command, [script, '1', key, ...args]),
      ),
    connect,
    watch: (given) => void (events = given),
    reconnect(isSilent) {
      isConnecting = true
      const own = ++reconnects
      const reopenOnce = () => {
        if (own === reconnects) reopen()
      }
      if (isSilent) reopen()
      // Its answer is the last one of those that are owed; one that fell silent fails when it is closed.
      else client.send('PING', []).then(reopenOnce, reopenOnce)
      return true
    },
  }

  function reopen(): void {
    client.close()
    connect()
  }
}
