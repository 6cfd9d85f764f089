// Files: Node's calls that read a file and write it in place, ours, and session-file-store.
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { load } from '../checkout.ts'
import { ours, peer, raw, type Engine } from '../sides.ts'

const DRIVER = 'node:fs'

export const file: Engine = {
  title: 'Files',
  atOnce: [1],
  async open(place) {
    const { folder, payload, roots } = place
    const path = join(folder, 'raw')
    mkdirSync(path)
    const sides = [
      await raw('node:fs, in place, compared with nothing', DRIVER, payload, {
        create: (key, data, end) => writeFileSync(join(path, key), `${end}:${data}`),
        read(key) {
          const text = readFileSync(join(path, key), 'utf8')
          return JSON.parse(text.slice(text.indexOf(':') + 1))
        },
        write: (key, data, _expected, end) => writeFileSync(join(path, key), `${end}:${data}`),
        touch(key, end) {
          const opened = openSync(join(path, key), 'r+')
          writeSync(opened, String(end), 0)
          closeSync(opened)
        },
      }),
    ]
    for (const [at, root] of roots.entries()) {
      const { fileStore } = await load(root, '@coatcheck/file')
      sides.push(await ours('file', DRIVER, root, payload, fileStore(join(folder, `ours-${at}`))))
    }
    return [...sides, await peer('session-file-store', place, { folder })]
  },
}
