// Memory: lru-cache with JSON, ours, MemoryStore and memorystore.
import { LRUCache } from 'lru-cache'
import { load } from '../checkout.ts'
import { ours, peer, raw, type Engine } from '../sides.ts'

const DRIVER = 'lru-cache'

export const lru: Engine = {
  title: 'Memory',
  atOnce: [1],
  async open(place) {
    const { folder, payload, roots } = place
    // Bounded as ours is.
    const cache = new LRUCache<string, { data: string; end: number }>({
      max: 100_000,
      maxSize: 104_857_600,
      sizeCalculation: ({ data }) => Buffer.byteLength(data) + 1,
    })
    const find = (key: string, holds: (found: { data: string; end: number }) => boolean) => {
      const found = cache.get(key)
      if (!found || !holds(found)) throw new Error('lru-cache: another session is there')
      return found
    }
    const sides = [
      await raw('lru-cache, JSON', DRIVER, payload, {
        create: (key, data, end) => cache.set(key, { data, end }),
        read: (key) => JSON.parse(cache.get(key)!.data),
        write(key, data, expected) {
          const { end } = find(key, (found) => found.data === expected)
          cache.set(key, { data, end })
        },
        touch(key, end, from) {
          const { data } = find(key, (found) => found.end === from)
          cache.set(key, { data, end })
        },
      }),
    ]
    for (const root of roots) {
      const { lruStore } = await load(root, '@coatcheck/cache/lru')
      sides.push(await ours('lru', DRIVER, root, payload, lruStore()))
    }
    for (const name of ['MemoryStore', 'memorystore']) {
      sides.push(await peer(name, place, { folder }))
    }
    return sides
  },
}
