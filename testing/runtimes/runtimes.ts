// The runtimes, each from its npm package, and how the proof is run on it.
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { freePort } from '../services.ts'
import type { Part } from './proof.ts'

const modules = join(import.meta.dirname, 'node_modules')
const run = promisify(execFile)

/** A runtime that the proof can run on. */
export interface Runtime {
  readonly name: string
  readonly version: string
  /** What runs a file, where it has a command line. */
  readonly command?: readonly [string, ...string[]]
  prove(): Promise<Part[]>
}

/** Each runtime; undefined where npm has no build of it for this machine. */
export const runtimes: Record<string, Runtime | undefined> = {
  'Node 22': onCommandLine('node22', 'bin/node'),
  'Node 24': {
    name: 'Node 24',
    version: process.versions.node,
    prove: () => proveBy(process.execPath),
  },
  'Node 26': onCommandLine('node26', 'bin/node'),
  Bun: onCommandLine('@oven/bun-linux-x64', 'bin/bun', 'run'),
  Deno: onCommandLine('@deno/linux-x64-glibc', 'deno', 'run', '--allow-all'),
  workerd: installed('@cloudflare/workerd-linux-64', 'bin/workerd', proveOnWorkerd),
}

function installed(
  packageName: string,
  file: string,
  prove: (binary: string) => Promise<Part[]>,
): Runtime | undefined {
  const binary = join(modules, packageName, file)
  if (!existsSync(binary)) return undefined
  const { version } = JSON.parse(readFileSync(join(modules, packageName, 'package.json'), 'utf8'))
  return { name: packageName, version, prove: () => prove(binary) }
}

function onCommandLine(packageName: string, file: string, ...args: string[]): Runtime | undefined {
  const runtime = installed(packageName, file, (binary) => proveBy(binary, ...args))
  return runtime && { ...runtime, command: [join(modules, packageName, file), ...args] }
}

async function proveBy(binary: string, ...args: string[]): Promise<Part[]> {
  const { stdout } = await run(binary, [...args, join(import.meta.dirname, 'main.ts')], {
    maxBuffer: 10_000_000,
  })
  return JSON.parse(stdout)
}

/** workerd takes one bundle and a configuration, and answers over HTTP. */
async function proveOnWorkerd(binary: string): Promise<Part[]> {
  const folder = mkdtempSync(join(tmpdir(), 'coatcheck-workerd-'))
  const port = await freePort()
  await build({
    entryPoints: [join(import.meta.dirname, 'worker.ts')],
    outfile: join(folder, 'worker.js'),
    bundle: true,
    format: 'esm',
    platform: 'node',
    external: ['bun:sqlite'],
  })
  writeFileSync(
    join(folder, 'config.capnp'),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .main)],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const main :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-11-01",
);
`,
  )
  const server = spawn(binary, ['serve', join(folder, 'config.capnp')], { stdio: 'ignore' })
  try {
    for (let tries = 0; ; tries++) {
      try {
        return (await (await fetch(`http://127.0.0.1:${port}/`)).json()) as Part[]
      } catch (error) {
        if (tries === 100) throw error
        await setTimeout(100)
      }
    }
  } finally {
    server.kill('SIGKILL')
    rmSync(folder, { recursive: true })
  }
}
