// What the ways of answering send: a text that betrays itself where it must not be, and a file of it.
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Stands in the body of every answer, so that one byte of a dropped answer can be told. */
export const MARK = 'the-page'

/** A body. */
export const PAGE = `${MARK}: hello`

/** `size` bytes of marks. */
export const long = (size: number): Buffer<ArrayBuffer> => Buffer.alloc(size, `${MARK}\n`)

/** A folder with the file `page.txt`, larger than the buffers between, and of a time that stays the same. */
export const FOLDER = join(tmpdir(), 'coatcheck-answers')
export const FILE = join(FOLDER, 'page.txt')

mkdirSync(FOLDER, { recursive: true })
writeFileSync(FILE, long(200_000))
utimesSync(FILE, 1_700_000_000, 1_700_000_000)

/** An error of a handler's own, whose stack is the same wherever it is thrown: error pages show it. */
export function failure(message: string, status?: number): Error {
  const error = Object.assign(new RangeError(message), status !== undefined && { status })
  error.stack = String(error)
  return error
}
