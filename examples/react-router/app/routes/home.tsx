// A visit counter and a login, in a loader and an action.
import {
  Form,
  redirect,
  useLoaderData,
  type ActionFunctionArgs,
  type LoaderFunctionArgs,
} from 'react-router'
import { sessionContext } from '../session.server.ts'

export function loader({ context }: LoaderFunctionArgs) {
  const session = context.get(sessionContext)
  session.update('visits', (visits = 0) => visits + 1)
  return { visits: session.get('visits'), user: session.get('user') }
}

export async function action({ request, context }: ActionFunctionArgs) {
  const session = context.get(sessionContext)
  const user = (await request.formData()).get('user')
  if (user) {
    session.cycleKey()
    session.set('user', String(user))
  } else session.flush()
  return redirect('/')
}

export default function Home() {
  const { visits, user } = useLoaderData<typeof loader>()
  return (
    <main>
      <p>
        Hello {user ?? 'stranger'}, visit number {visits}.
      </p>
      <Form method="post">
        <input name="user" aria-label="Name" />
        <button>Log in, or out without a name</button>
      </Form>
    </main>
  )
}
