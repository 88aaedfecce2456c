// Makes calls with Mangopay's own SDK, one after the other, and prints what came of each as a line of JSON.
//
//   node calls.js BASE_URL CLIENT_ID API_KEY CALL...        a CALL is one of the names below
'use strict'

const Mangopay = require('mangopay4-nodejs-sdk')

const [baseUrl, clientId, clientApiKey, ...names] = process.argv.slice(2)
const api = new Mangopay({ baseUrl, clientId, clientApiKey, errorHandler: () => {} })

const calls = {
  list: () => api.Users.getAll(),
  read: () => api.Users.get('user_m_1'),
  create: () => api.Users.create({ PersonType: 'LEGAL', LegalPersonType: 'BUSINESS', Name: 'A shop' }),
  countries: () => api.Regulatory.getAllCountriesAuthorizations(),
}

async function main () {
  for (const name of names) {
    try {
      console.log(JSON.stringify({ answer: await calls[name]() }))
    } catch (error) {
      console.log(JSON.stringify({ error }))
    }
  }
}

main()
