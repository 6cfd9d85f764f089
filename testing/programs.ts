// Starts a program of the workspace as a user would, waits for the address that it prints, and stops it.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

/** A program that serves. */
export interface Program {
  readonly url: string
  /** Asks it to end, and resolves to its exit code. */
  stop(): Promise<number>
}

const running = new Set<ChildProcess>()

/** Starts `file` on this Node, or on another runtime's command line; resolves when it has printed its address, and fails if it ends before. */
export async function startProgram(
  file: string,
  args: readonly string[] = [],
  env: Record<string, string | undefined> = {},
  [binary, ...runtimeArgs]: readonly [string, ...string[]] = [process.execPath],
): Promise<Program> {
  const program = spawn(binary, [...runtimeArgs, file, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  running.add(program)
  for await (const line of createInterface(program.stdout!)) {
    const url = /http:\/\/[\w.]+:\d+/.exec(line)?.[0]
    if (url) {
      // What it prints later must not fill the pipe.
      program.stdout!.resume()
      return { url, stop: () => stop(program) }
    }
  }
  throw new Error(`${file} ended without printing its address`)
}

/** Stops whatever a test has left running. */
export async function stopPrograms(): Promise<void> {
  for (const program of running) await stop(program)
}

async function stop(program: ChildProcess): Promise<number> {
  running.delete(program)
  if (program.exitCode !== null) return program.exitCode
  program.kill('SIGTERM')
  return (await once(program, 'exit'))[0] as number
}
