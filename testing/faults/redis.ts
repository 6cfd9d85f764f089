// A Redis that is one of several, behind a proxy whose address it gives as its own; and what is asked of it beside the application.
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { findProgram } from '../needs.ts'
import { openProxy, type Proxy } from '../proxy.ts'
import { folderFor, freePort, service, type Service } from '../services.ts'
import { proxyPort } from './network.ts'

/** A server and the way to it. */
export interface Node {
  readonly service: Service
  readonly proxy: Proxy
  /** Its own port, past the proxy. */
  readonly port: number
}

export const LOCALHOST = '127.0.0.1'
/** Sentinels and clusters have formed by then, in ms. */
const FORMED = 60_000

const run = promisify(execFile)

/** What a Redis answers to a command; nothing if it does not. */
export async function ask(port: number, ...command: string[]): Promise<string> {
  try {
    return (await run('redis-cli', ['-p', `${port}`, ...command], { timeout: 2000 })).stdout
  } catch {
    return ''
  }
}

/** Waits until something is so. */
export async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + FORMED
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`${what}: not within ${FORMED} ms`)
    await setTimeout(20)
  }
}

/** Starts a Redis by a file of settings, which Sentinel and the cluster write their own to. */
export async function startNode(
  host: string,
  settings: (port: number, announced: number) => readonly string[],
  isSentinel = false,
): Promise<Node> {
  const port = await freePort()
  const own = proxyPort()
  const folder = folderFor('redis')
  const file = join(folder, 'redis.conf')
  writeFileSync(file, [`port ${port}`, `dir ${folder}`, ...settings(port, own), ''].join('\n'))
  const server = await service(folder, {
    url: `redis://${host}:${own}`,
    program: findProgram('redis-server')!,
    args: [file, ...(isSentinel ? ['--sentinel'] : [])],
    ready: async () => (await ask(port, 'ping')).startsWith('PONG'),
  })
  return { service: server, port, proxy: await openProxy(LOCALHOST, port, { host, own }) }
}

/** What a Redis that keeps all that it acknowledges is told. */
export const KEEPS = ['appendonly yes', 'appendfsync always', 'save ""']
