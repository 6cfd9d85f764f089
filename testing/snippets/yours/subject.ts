// What the pages' readers have themselves: the subject of a suite.
import type { Subject } from '@coatcheck/conformance'

declare const subject: Subject
export default subject
