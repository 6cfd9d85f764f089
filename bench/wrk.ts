// Loads a server by wrk, which costs so little itself that the server's own time is seen.
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { findProgram } from '../testing/needs.ts'

/** The program; undefined if it is not on this machine. */
export const wrk = findProgram('wrk')

const CONNECTIONS = 16

/** What a load came to. */
export interface Load {
  /** Requests that were answered. */
  readonly requests: number
  /** Requests a second. */
  readonly rate: number
}

/** Writes the script by which wrk sends the cookies in turn, and prints at its end what was answered. */
export function writeScript(file: string, path: string, cookies: readonly string[]): void {
  const lines = cookies.map((cookie) => `  ${JSON.stringify(cookie)},`)
  writeFileSync(
    file,
    `local cookies = {
${lines.join('\n')}
}
local requests, at = {}, 0
function init()
  for i, cookie in ipairs(cookies) do requests[i] = wrk.format('GET', '${path}', { Cookie = cookie }) end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary)
  local e = summary.errors
  print(string.format('{"requests":%d,"duration":%d,"errors":%d}', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout))
end
`,
  )
}

/** wrk ends by itself after so long, in seconds, if nobody ends it. */
const AT_MOST = 60

/**
 * Loads the server at a URL by a script of {@link writeScript}, for so many ms.
 * @throws Error if a request failed.
 */
export async function load(url: string, script: string, ms: number): Promise<Load> {
  const flags = ['-t1', `-c${CONNECTIONS}`, `-d${AT_MOST}s`]
  const running = promisify(execFile)(wrk!, [...flags, '-s', script, url])
  // wrk itself counts in whole seconds; an interrupt has it end and tell what was answered until then.
  const timer = setTimeout(() => running.child.kill('SIGINT'), ms)
  const { stdout } = await running.finally(() => clearTimeout(timer))
  const { requests, duration, errors } = JSON.parse(/^\{.*\}$/m.exec(stdout)![0])
  if (errors > 0) throw new Error(`${url}: ${errors} of ${requests} requests failed`)
  return { requests, rate: requests / (duration / 1e6) }
}
