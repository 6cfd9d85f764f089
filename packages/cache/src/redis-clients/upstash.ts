// Clients of Upstash (the package @upstash/redis): each call is a request by HTTP.
import { byHash, type Link } from './link.ts'

/** As much of Upstash's `Redis` as the engine uses. */
export interface UpstashClient {
  eval(lua: string, keys: string[], args: string[]): Promise<unknown>
  evalsha(hash: string, keys: string[], args: string[]): Promise<unknown>
  createScript(lua: string): unknown
}

/**
 * A client as the engine calls it. It makes of an answer that is JSON what that stands for, which no answer of the engine's scripts is.
 */
export function upstashLink(client: UpstashClient): Link {
  return {
    place: placeOf(client),
    state: () => 'ready',
    script: (lua) =>
      byHash(
        lua,
        (command, script, key, args) =>
          command === 'EVAL'
            ? client.eval(script, [key], args)
            : client.evalsha(script, [key], args),
        withoutCommand,
      ),
  }
}

/** `Command failed: NOSCRIPT …` or `NOSCRIPT …, command was: [ … ]` as the server says it: what was asked is a key, and data. */
function withoutCommand(error: unknown): unknown {
  if (!(error instanceof Error) || error.name !== 'UpstashError') return error
  return new Error(error.message.replace(/^Command failed: /, '').replace(/, command was: .*/s, ''))
}

function placeOf(client: UpstashClient): string {
  const http = Reflect.get(client, 'client') as { baseUrl?: string } | undefined
  try {
    return new URL(http?.baseUrl ?? '').host
  } catch {
    return 'client'
  }
}
