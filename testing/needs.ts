// Tests that need something of the machine: skipped in plain words where it is missing, a failure in CI.
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { chromium, type Browser } from 'playwright-core'
import { test, type TestContext } from 'vitest'
import type { Kind, Service } from './services.ts'

/** The full path of a program; undefined if it is nowhere to be found. */
export function findProgram(...names: string[]): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/bin', '/usr/sbin']
  for (const path of folders.flatMap((folder) => names.map((name) => join(folder, name)))) {
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // Not this one.
    }
  }
  return undefined
}

/**
 * Returns what the test needs, if it is there. If not, the test is skipped with a note that says what is missing and how
 * to get it; with REQUIRE_SERVICES=1 it fails instead.
 */
export function need<T>(context: TestContext, found: T | undefined, what: string, how: string): T {
  if (found !== undefined) return found
  const note = `${what} is missing. To run these tests: ${how}`
  if (process.env['REQUIRE_SERVICES'] === '1') throw new Error(note)
  context.skip(note)
}

/**
 * Starts Chromium: that of CHROMIUM in the environment, or one that is installed.
 * @param keepsPages It keeps pages whole for "back" (the back/forward cache), as browsers do unless playwright starts them.
 * @param more Further arguments of its command line.
 */
export async function launchChromium(
  context: TestContext,
  { keepsPages = false, more = [] }: { keepsPages?: boolean; more?: readonly string[] } = {},
): Promise<Browser> {
  const path =
    process.env['CHROMIUM'] ?? findProgram('chromium', 'chromium-browser', 'google-chrome')
  const how = 'apt-get install chromium, or set CHROMIUM to its path'
  return chromium.launch({
    executablePath: need(context, path, 'Chromium', how),
    timeout: 300_000,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-sync',
      ...more,
    ],
    ...(keepsPages && { ignoreDefaultArgs: ['--disable-back-forward-cache'] }),
  })
}

/** A test function that skips, or fails in CI, with the words that `need` has for it. */
type TestFunction = (title: string, run: (context: TestContext) => unknown) => void

/** A server for a file of tests. */
export interface TestServer {
  /** Where it is; undefined if it is missing. */
  readonly url: string | undefined
  /** Registers a test that needs it. */
  readonly test: TestFunction
  /** The server itself, if it was started here. */
  readonly service: Service | undefined
}

/** A server for a file of tests: the one that the environment names, or a private one that is started now. */
export async function testWith(kind: Kind): Promise<TestServer> {
  const url = kind.variable && process.env[kind.variable]
  const service = url === undefined ? await kind.launch?.() : undefined
  const found = url ?? service?.url
  return {
    url: found,
    service,
    test: (title, run) =>
      test(title, (context) => {
        need(context, found, kind.name, kind.how)
        return run(context)
      }),
  }
}
