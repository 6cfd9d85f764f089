// What can befall any server: killed, restarted, stopped, cut off, half-open, slow.
import { startAgain } from '../services.ts'
import { openProxy, type Proxy } from '../proxy.ts'
import type { Service } from '../services.ts'
import { NO_NAMESPACES, proxyPort, type Link, type Network } from './network.ts'

/** What befalls a server. */
export interface Fault {
  readonly name: string
  /** Begins it; resolves when it is there. */
  begin(): unknown
  /** Ends it; resolves when the server is back, for whoever asks it anew. */
  end(): unknown
  /** Waits until the next fault may come. */
  settle?(): unknown
  /** It has no length of its own: it ends as soon as it has begun. */
  readonly isBrief?: boolean
  /** What was acknowledged since so many ms before it may be lost. */
  readonly loses?: number
  /** Why it cannot be tried on this machine. */
  readonly impossible?: string
}

/** How late a slow server answers, in ms. */
const SLOW = 2000
/** A server, a way to it that can be taken away, and how it is stopped in order. */
export interface Struck {
  readonly service: Service
  /** All ways to it; those to the server itself first. */
  readonly proxies: readonly Proxy[]
  readonly link: Link
  readonly signal?: NodeJS.Signals
}

/** A fault, its begin and its end. */
export const fault = (
  name: string,
  begin: () => unknown,
  end: () => unknown,
  more: Partial<Fault> = {},
): Fault => ({ name, begin, end, ...more })

/** A server that is down refuses connections; while it starts it hangs up, or says that it starts. */
export async function stopAndCut(
  { service, proxies }: Struck,
  signal: NodeJS.Signals,
): Promise<void> {
  await service.stop(signal)
  proxies[0]!.cut()
}
export async function startAndRestore({ service, proxies }: Struck): Promise<void> {
  await proxies[0]!.restore()
  await startAgain(service)
}
export const killed = (struck: Struck): Fault =>
  fault(
    'killed',
    () => stopAndCut(struck, 'SIGKILL'),
    () => startAndRestore(struck),
  )
export const restarted = (struck: Struck): Fault =>
  fault(
    'restarted',
    () => stopAndCut(struck, struck.signal ?? 'SIGTERM'),
    () => startAndRestore(struck),
    { isBrief: true },
  )
export const stopped = ({ service }: Struck): Fault =>
  fault(
    'stopped',
    () => service.freeze(true),
    () => service.freeze(false),
  )
export const onTheWay = ({ proxies, link }: Struck): Fault[] => [
  fault(
    'cut',
    () => proxies.forEach((proxy) => proxy.cut()),
    () => Promise.all(proxies.map((proxy) => proxy.restore())),
  ),
  fault(
    'half-open',
    () => link.lose!(true),
    () => link.lose!(false),
    link.lose ? {} : { impossible: NO_NAMESPACES },
  ),
  fault(
    'slow',
    () => proxies.forEach((proxy) => proxy.delay(SLOW)),
    () => proxies.forEach((proxy) => proxy.delay(0)),
  ),
]
export const common = (struck: Struck): Fault[] => [
  killed(struck),
  restarted(struck),
  stopped(struck),
  ...onTheWay(struck),
]

export const portOf = (url: string) => Number(new URL(url).port)

/** A way to a server by a link of its own, and the URL by which the application takes it. */
export async function reach(service: Service, network: Network, url = service.url) {
  const link = network.link()
  const proxy = await openProxy('127.0.0.1', portOf(service.url), {
    host: link.host,
    own: proxyPort(),
  })
  const reached = new URL(url)
  reached.host = `${link.host}:${proxy.port}`
  return { url: reached.href, struck: { service, proxies: [proxy], link } satisfies Struck }
}

/** Stops services and the ways to them. */
export const stopAll = (services: readonly Service[], proxies: readonly Proxy[]) => async () => {
  for (const proxy of proxies) proxy.cut()
  for (const service of services) await service[Symbol.asyncDispose]()
}
