// Fastify that keeps a call by a job of BullMQ or by a raw RPUSH, and answers 200 when Redis has confirmed it; or that
// keeps nothing. In its favour: no log, and commands to Redis that are sent together.
//
//     node fastify.js bare|rpush|bullmq FOLDER PORT SOCKET
const [how, folder, port, path] = process.argv.slice(2)
const { createRequire } = require('node:module')
const installed = createRequire(folder + '/')

function keeper () {
  if (how === 'bare') return async () => {}
  if (how === 'rpush') {
    const { Redis } = installed('ioredis')
    const redis = new Redis({ path, enableAutoPipelining: true })
    return body => redis.rpush('peers', body)
  }
  const { Queue } = installed('bullmq')
  const queue = new Queue('peers', { connection: { path, enableAutoPipelining: true } })
  return body => queue.add('call', { body })
}

const keep = keeper()
const app = installed('fastify')({ logger: false, keepAliveTimeout: 60000 })
app.addContentTypeParser('*', { parseAs: 'string' }, (request, body, done) => done(null, body))
app.post('/copernica', async (request, reply) => {
  await keep(request.body)
  reply.code(200).send()
})
app.get('/copernica', async () => '')
app.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 })
