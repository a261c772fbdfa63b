// HTTP by node:http: a server that streams each request's body back, and a client that checks the answers.
const http = require("node:http");
const { createHash } = require("node:crypto");

const CLIENTS = 4, SMALL = 1500, LARGE = 20, LONGEST = 400_000, LARGEST = 8 << 20, AGAIN = 500;
const [role, host, port] = process.argv.slice(2);

function body(seed, length) {
  const bytes = Buffer.alloc(length);
  let state = seed + 1;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[at] = state >>> 16;
  }
  return bytes;
}

// Of a body: many are small, then some large, and small again.
function length(request, number) {
  if (request === SMALL + LARGE) return LARGEST;
  return 1 + (number % (request >= SMALL && request < SMALL + LARGE ? LONGEST : 1000));
}

function exchange(agent, bytes) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host, port, agent, method: "POST", headers: { "content-length": bytes.length } });
    request.on("error", reject);
    request.on("response", (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", reject);
      response.on("end", () => resolve(Buffer.concat(parts)));
    });
    request.end(bytes);
  });
}

async function talk(client) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const digest = createHash("sha256");
  for (let request = 0; request <= SMALL + LARGE + AGAIN; request++) {
    const seed = client * 10_000 + request;
    const bytes = body(seed, length(request, seed * 7919 * 13));
    const answer = await exchange(agent, bytes);
    if (!answer.equals(bytes)) throw new Error(`request ${request} was answered with other bytes`);
    digest.update(answer);
  }
  agent.destroy();
  return digest.digest("hex");
}

if (role === "server") {
  http.createServer((request, response) => request.pipe(response)).listen(Number(port), host);
} else {
  Promise.all(Array.from({ length: CLIENTS }, (_, client) => talk(client))).then((sums) => console.log(sums.join("\n")));
}
