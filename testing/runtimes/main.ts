// Runs the proof on a runtime with a command line, and prints it as JSON.
import { prove } from './proof.ts'

console.log(JSON.stringify(await prove()))
