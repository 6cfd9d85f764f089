// The drivers, which are optional: an engine loads its own when it makes a connection itself.
import Module from 'node:module'
import { join } from 'node:path'
import { SessionUsageError } from './errors.ts'

/** Which driver, for whom, and from where. */
export interface DriverRequest {
  /** The function that needs it, as an error names it: `redisStore`. */
  readonly by: string
  /** What is loaded: `ioredis`, `mysql2/promise`. */
  readonly driver: string
  /** The `import.meta.url` of who needs it; undefined in a bundle of CommonJS. */
  readonly from: string | undefined
  /** How the application passes it instead: `redisStore(new Redis(url))`. */
  readonly pass: string
}

/**
 * Loads a driver that is an optional peer dependency: as installed beside the engine or, where that has become part of a bundle, in the
 * folder that the application was started in.
 * @throws SessionUsageError (code ERR_SESSION_DRIVER_MISSING) if it is in neither place. What the driver itself throws while it is loaded
 * goes on.
 */
export function loadDriver(request: DriverRequest): unknown {
  const { by, driver, from, pass } = request
  for (const place of [from, join(process.cwd(), 'package.json')]) {
    if (place === undefined) continue
    try {
      // By this name: webpack would read a plain `createRequire(…)` itself, and put `undefined` in its place.
      return Module.createRequire(place)(driver)
    } catch (error) {
      if (!isMissing(error, driver)) throw error
    }
  }
  const name = driver.split('/', 1)[0]!
  throw new SessionUsageError(
    `${by} does not find the package ${name}. Run: npm install ${name}. In a bundle, where nothing can be loaded by name, import it yourself and pass it: ${pass}`,
    'ERR_SESSION_DRIVER_MISSING',
  )
}

/** Whether the driver itself is not there, or the place is none on a disk; one that lacks something of its own is broken. */
function isMissing(error: unknown, driver: string): boolean {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ERR_INVALID_ARG_VALUE') return true
  return code === 'MODULE_NOT_FOUND' && String(message).includes(`'${driver}'`)
}
