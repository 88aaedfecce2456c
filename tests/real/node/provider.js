// An authorization server by oidc-provider, whose clients prove themselves by signed assertions (RFC 7523).
//
//   node provider.js JWKS        JWKS are the public keys of the client "a-client"; it prints where it listens,
//                                and then for each token request its status and what it says of it
'use strict'

const http = require('node:http')

const algorithms = ['RS256', 'PS256', 'ES256', 'EdDSA']

async function main () {
  const { Provider } = await import('oidc-provider')
  const server = http.createServer()
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${server.address().port}`
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'a-client',
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      scope: 'read write',
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: JSON.parse(process.argv[2])
    }],
    clientAuthMethods: ['private_key_jwt'],
    enabledJWA: { clientAuthSigningAlgValues: algorithms },
    features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false }, introspection: { enabled: false } },
    scopes: ['read', 'write'],
    ttl: { ClientCredentials: 1200 }
  })
  const handle = provider.callback()
  server.on('request', (request, response) => {
    response.on('finish', () => console.log(`${response.statusCode}`))
    handle(request, response)
  })
  console.log(issuer)
}

main()
