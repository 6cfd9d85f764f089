// What npm shows of each package is its README alone: its links have to lead somewhere from there.
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')
const SOURCE = /^https:\/\/github\.com\/coatcheck\/coatcheck\/(?:blob|tree)\/main\/([^#]+)/

test.each(globSync(['packages/*/README.md', 'tests-conformance/README.md'], { cwd: root }))(
  'every link of %s works from outside of the repository, and names what is there',
  (page) => {
    const links = readFileSync(join(root, page), 'utf8').matchAll(/\]\(([^)\s]+)\)/g)
    const targets = [...links].map(([, target]) => target!)
    expect(targets.filter((target) => !/^(?:https?:|#)/.test(target))).toEqual([])
    const files = targets.flatMap((target) => SOURCE.exec(target)?.[1] ?? [])
    expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([])
  },
)
