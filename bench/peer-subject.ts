// A store of the field as a subject of the suite; also the module by which the suite's other processes open it.
import type { Outage, Subject } from '@coatcheck/conformance'
import { fromExpressStore } from '@coatcheck/express-session'
import { proxyTo } from '../testing/proxy.ts'
import { folderAway, tableAway, type Places } from '../testing/subjects.ts'
import { peers } from './peers.ts'

function subjectAt(name: string, places: Places): Subject {
  const { traits = {}, open } = peers[name]!
  const query = new URLSearchParams({ peer: name, ...places })
  return {
    name,
    traits: { nonAtomic: true, ...traits },
    realTime: true,
    module: new URL(`?${query}`, import.meta.url),
    async open(options) {
      const { store, close } = await open(options.name, places)
      return { ...fromExpressStore(store, { traits }), close: async () => void (await close()) }
    },
  }
}

/** A store of the field as a subject whose backend can be taken away. */
export async function peerSubject(name: string, places: Places): Promise<Subject & Disposable> {
  const { needs } = peers[name]!
  const outage = outages[name]?.(places)
  if (!needs)
    return { ...subjectAt(name, places), ...(outage && { outage }), [Symbol.dispose]() {} }
  const { url, proxy } = await proxyTo(places[needs]!)
  return {
    ...subjectAt(name, { ...places, [needs]: url }),
    outage: { begin: () => proxy.cut(), end: () => proxy.restore() },
    [Symbol.dispose]: () => proxy.cut(),
  }
}

const sessionsAway = tableAway((name) => ({ file: `${name}.sqlite`, table: 'sessions' }))

/** How the backends go away that are no servers; those in memory have none. */
const outages: Record<string, (places: Places) => Outage> = {
  'session-file-store': folderAway,
  'better-sqlite3-session-store': sessionsAway,
  'connect-session-knex': sessionsAway,
}

const { peer, ...places } = Object.fromEntries(new URL(import.meta.url).searchParams)
export default peer && subjectAt(peer, places as Places)
