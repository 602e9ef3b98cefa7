// A DHCP server that does what no honest one does: node dhcp-server.cjs MODE. Leases last ten seconds, dnsmasq's never
// less than two minutes. It writes a line for each message that it gets or sends.
//
//   offer    offers, and never acknowledges        nak      offers, and refuses what it has offered
//   short    gives .60; .61 once the file MOVE exists, and refuses .60 then
//   evil     gives an address that is none         far      gives routes and a router that are none of its business
const dgram = require('node:dgram')
const fs = require('node:fs')

const mode = process.argv[2]
const NAMES = { 1: 'DISCOVER', 2: 'OFFER', 3: 'REQUEST', 4: 'DECLINE', 5: 'ACK', 6: 'NAK', 7: 'RELEASE' }
const SERVER = [192, 168, 77, 1]
const socket = dgram.createSocket({ type: 'udp4', reuseAddr: true })
const say = (text) => console.log(text)

const address = () => {
  if (mode === 'evil') return [127, 0, 0, 1]
  return [192, 168, 77, mode === 'short' && fs.existsSync('MOVE') ? 61 : 60]
}

const options = () => [
  ...[51, 4, 0, 0, 0, 10, 1, 4, 255, 255, 255, 0, 3, 4, ...SERVER],
  // Subnets of other interfaces, loopback, a router that is no host: with the default route through the server.
  ...(mode === 'far' ? [121, 29, 24, 10, 20, 0, ...SERVER, 8, 127, ...SERVER, 16, 10, 30, 224, 0, 0, 1, 0, ...SERVER] : []),
]

const read = (packet) => {
  const found = {}
  for (let at = 240; at < packet.length && packet[at] !== 255; at += packet[at] === 0 ? 1 : 2 + packet[at + 1])
    if (packet[at] !== 0) found[packet[at]] = [...packet.subarray(at + 2, at + 2 + packet[at + 1])]
  return found
}

const reply = (packet, type, ip) => {
  const answer = Buffer.alloc(300)
  packet.copy(answer, 0, 0, 240)
  answer[0] = 2
  answer.fill(0, 12, 28)
  if (type !== 6) answer.set(ip, 16)
  answer.set([53, 1, type, 54, 4, ...SERVER, ...(type === 6 ? [] : options()), 255], 240)
  say(`${NAMES[type]} ${ip.join('.')}`)
  socket.send(answer, 68, '255.255.255.255')
}

socket.on('message', (packet) => {
  const given = read(packet)
  const [type] = given[53] ?? []
  const wanted = given[50] ?? [...packet.subarray(12, 16)]
  say(`${NAMES[type]} ${wanted.join('.')}`)
  const ip = address()
  if (type === 1) reply(packet, 2, ip)
  if (type !== 3 || mode === 'offer') return
  const isGood = mode !== 'nak' && String(wanted) === String(ip)
  reply(packet, isGood ? 5 : 6, ip)
})
socket.bind(67, '0.0.0.0', () => {
  socket.setBroadcast(true)
  say('ready')
})
