// Runs the proof on workerd, and answers with it as JSON.
import { prove } from './proof.ts'

export default {
  async fetch(): Promise<Response> {
    return Response.json(await prove())
  },
}
