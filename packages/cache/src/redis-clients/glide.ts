// Clients of Valkey GLIDE (the package @valkey/valkey-glide).
import { addressOf, byHash, type Link } from './link.ts'

/** As much of a `GlideClient` or `GlideClusterClient` as the engine uses. */
export interface GlideClient {
  customCommand(args: string[], options?: any): Promise<unknown>
  invokeScript(script: any, options?: any): Promise<unknown>
  close(): void
}

/** GLIDE's `Decoder.String`, whatever the client's `defaultDecoder` is. */
const AS_TEXT = { decoder: 1 }

/** The server's words, where GLIDE has names of its own for them. */
const WORDS: Readonly<Record<string, string>> = {
  NoScriptError: 'NOSCRIPT',
  ReadOnly: 'READONLY',
  MasterDown: 'MASTERDOWN',
  BusyLoadingError: 'LOADING',
  PermissionDenied: 'NOPERM',
  ClusterDown: 'CLUSTERDOWN',
  TryAgain: 'TRYAGAIN',
  ResponseError: 'ERR',
}

/** A client as the engine calls it: its core makes and drops connections by itself. */
export function glideLink(client: GlideClient): Link {
  return {
    place: placeOf(client),
    state: () => 'ready',
    script: (lua) =>
      byHash(
        lua,
        (command, script, key, args) =>
          client.customCommand([command, script, '1', key, ...args], AS_TEXT),
        inWordsOfRedis,
      ),
  }
}

/** `An error was signalled by the server: - ReadOnly: You can't write …` as the server says it: `READONLY You can't write …`. */
function inWordsOfRedis(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const [, name, rest] =
    /^(?:An error was signalled by the server: - )?(\w+): (.*)$/s.exec(error.message) ?? []
  if (name === undefined) return error
  return new Error(`${WORDS[name] ?? name} ${rest}`, { cause: error.name })
}

function placeOf(client: GlideClient): string {
  const { addresses = [] } = (Reflect.get(client, 'config') ?? {}) as {
    addresses?: readonly { host: string; port?: number }[]
  }
  return addresses.map(({ host, port = 6379 }) => addressOf(host, port)).join(', ') || 'client'
}
