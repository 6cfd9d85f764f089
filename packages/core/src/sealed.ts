// What all sessions share stays as it is, and nothing is written past a session: an assignment to one is an error at once.
import { SessionUsageError } from './errors.ts'

/**
 * Methods of other libraries' sessions, which other libraries call. None of them does here what it does there, so none does anything.
 */
class Elsewhere {
  regenerate(): never {
    return refuseCall('regenerate', 'call cycleKey() when a user logs in, flush() at a logout')
  }

  destroy(): never {
    return refuseCall('destroy', 'call flush() to end the session')
  }

  reload(): never {
    return refuseCall('reload', 'open the session anew, by sessions.open()')
  }

  touch(): never {
    return refuseCall('touch', 'with `saveEveryRequest: true` each request renews the session')
  }

  resetMaxAge(): never {
    return refuseCall('resetMaxAge', 'call setExpiry()')
  }

  /** So `session.cookie.maxAge = …` says more than that undefined has no properties. */
  get cookie(): never {
    throw new SessionUsageError(
      "session.cookie is other libraries', and not this one's: call setExpiry(seconds) for this session's life, and give the manager `cookie: { … }` for the attributes.",
    )
  }
}

/**
 * Seals a class: an assignment to one of its instances throws, in sloppy code too, but for a property that has a setter; and nobody can
 * write to what the instances share. Names that are known are found before what refuses the others, and cost what they did.
 * @param noteRead Told of each read of a name that is not there.
 */
export function seal(
  sealed: { readonly prototype: object },
  noteRead: (instance: object, name: string) => void,
): void {
  const { prototype } = sealed
  for (const name of Reflect.ownKeys(prototype)) {
    const { value, get = () => value, set } = Object.getOwnPropertyDescriptor(prototype, name)!
    if (name !== 'constructor') freeze(value)
    Object.defineProperty(prototype, name, {
      get: freeze(get),
      set: freeze(set ?? ((given: unknown) => refuseOwn(name, given))),
    })
  }
  // Each `await` asks for it: found here, it costs what it did. It is never there.
  // oxlint-disable-next-line unicorn/no-thenable
  Object.defineProperty(prototype, 'then', {
    set: freeze((given: unknown) => refuseAssignment('then', given)),
  })
  for (const { value } of Object.values(Object.getOwnPropertyDescriptors(Elsewhere.prototype))) {
    freeze(value)
  }
  const refused = new Proxy(Object.freeze(Elsewhere.prototype), {
    set: (_, name, given) => refuseAssignment(name, given),
    get(target, name, instance) {
      if (typeof name === 'string' && !(name in target)) noteRead(instance as object, name)
      return Reflect.get(target, name)
    },
  })
  Object.setPrototypeOf(prototype, refused)
  Object.freeze(prototype)
  Object.freeze(sealed)
}

/** A function, and the prototype that a generator has for its iterators. */
function freeze<F>(shared: F): F {
  const { prototype } = (shared ?? {}) as { prototype?: object }
  if (prototype !== undefined) Object.freeze(prototype)
  return Object.freeze(shared)
}

function refuseOwn(name: string | symbol, given: unknown): never {
  throw new SessionUsageError(
    `session.${String(name)} is the session's own, and cannot be assigned. ${advice(name, given)}`,
  )
}

function refuseAssignment(name: string | symbol, given: unknown): never {
  throw new SessionUsageError(
    `The property '${String(name)}' was assigned to a session, where it would be lost. ${advice(name, given)}`,
  )
}

function advice(name: string | symbol, given: unknown): string {
  if (typeof name === 'symbol' || typeof given === 'function') {
    return "A session holds data under names, by session.set('name', value), and takes no methods."
  }
  if (given === undefined) return `To remove a value write session.delete('${name}').`
  return `To keep a value write session.set('${name}', …), and read it by session.get('${name}').`
}

function refuseCall(name: string, instead: string): never {
  throw new SessionUsageError(
    `${name}() is a method of other libraries' sessions, and not of this one's: ${instead}.`,
  )
}
