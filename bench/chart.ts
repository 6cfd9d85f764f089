// Bar charts as SVG, in the colours of the reader's system: groups of bars, each group with a scale of its own.

/** One group: its bars are measured against the longest of them. */
export interface Group {
  readonly title: string
  readonly bars: readonly {
    readonly name: string
    readonly value: number
    readonly kind: 'raw' | 'ours' | 'peer'
  }[]
}

const WIDTH = 760
const NAMES = 270
const ROW = 20
const BAR = 14
/** What a figure needs beside its bar. */
const FIGURE = 90

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 15px; font-weight: 600 } .group { font-weight: 600 }
  .raw { fill: #8c959f } .ours { fill: #0969da } .peer { fill: #d4a72c }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .ours { fill: #4493f8 } }`

/** Draws a chart, with its figures written out. */
export function barChart(title: string, groups: readonly Group[]): string {
  const parts: string[] = []
  let y = 24
  const text = (x: number, content: string, attributes: string) =>
    parts.push(`<text x="${x}" y="${y}" ${attributes}>${escape(content)}</text>`)
  text(0, title, 'class="title"')
  y += 24
  for (const [x, kind, name] of [
    [0, 'raw', 'the limit below'],
    [130, 'ours', 'Coatcheck'],
    [230, 'peer', 'others'],
  ] as const) {
    parts.push(`<rect class="${kind}" x="${x}" y="${y - 10}" width="10" height="10"/>`)
    text(x + 15, name, '')
  }
  for (const group of groups) {
    y += 30
    text(0, group.title, 'class="group"')
    const longest = Math.max(...group.bars.map(({ value }) => value))
    for (const { name, value, kind } of group.bars) {
      y += ROW
      const width = Math.max(1, (value / longest) * (WIDTH - NAMES - FIGURE))
      text(NAMES - 8, name, 'text-anchor="end"')
      parts.push(
        `<rect class="${kind}" x="${NAMES}" y="${y - 11}" width="${width.toFixed(1)}" height="${BAR}" rx="2"/>`,
      )
      text(NAMES + width + 6, figure(value), '')
    }
  }
  const height = y + 14
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escape(title)}"><style>${STYLE}</style>${parts.join('')}</svg>\n`
}

/** Small values need a decimal. */
function figure(value: number): string {
  return value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString('en')
}

function escape(text: string): string {
  return text.replaceAll(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}
