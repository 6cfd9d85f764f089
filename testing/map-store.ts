// The store of the contract's doc comment, with keys checked: the smallest one that passes.
import {
  isSessionKey,
  KeyExistsError,
  RETIRED,
  SessionConflictError,
  SessionGoneError,
  SessionUsageError,
  systemClock,
  type SessionRecord,
  type SessionStore,
} from '@coatcheck/core/store'

/** `records` is where it keeps them, for a test that looks inside. */
export function mapStore({
  now = systemClock,
  records = new Map<string, SessionRecord>(),
}: { now?: () => number; records?: Map<string, SessionRecord> } = {}): SessionStore {
  const load = (key: string) => {
    const record = records.get(key)
    return record && record.expiresAt > now() ? { ...record } : undefined
  }
  const found = (key: string) => {
    const record = load(key)
    if (!record || record.data === RETIRED) throw new SessionGoneError()
    return record
  }
  const put = (key: string, { data, expiresAt }: SessionRecord) => {
    records.set(key, { data, expiresAt })
    return key
  }
  return {
    traits: { sync: true, ephemeral: true, unshared: true },
    load,
    create(key, record) {
      if (!isSessionKey(key)) throw new SessionUsageError('malformed key')
      if (load(key)) throw new KeyExistsError()
      return put(key, record)
    },
    save(key, record, expected) {
      const { data } = found(key)
      if (expected !== undefined && data !== expected) throw new SessionConflictError()
      return put(key, record)
    },
    touch(key, expiresAt, from) {
      const record = found(key)
      if (from !== undefined && record.expiresAt !== from) throw new SessionConflictError()
      return put(key, { data: record.data, expiresAt })
    },
    delete: (key) => void records.delete(key),
    async clearExpired({ batchSize = 1000, signal } = {}) {
      let looked = 0
      let removed = 0
      for (const key of records.keys()) {
        if (signal?.aborted) break
        if (!load(key) && records.delete(key)) removed++
        if (++looked % batchSize === 0) await new Promise((resolve) => setTimeout(resolve))
      }
      return removed
    },
  }
}
