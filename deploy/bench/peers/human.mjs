// Human with the WASM backend, as its documentation recommends for node; only what recognition needs
// is switched on.   node human.mjs SCENE_FOLDER

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';

const ROUNDS = 15;
const ENROLLED = 50000;
const packages = join(dirname(fileURLToPath(import.meta.url)), 'node_modules');
const models = join(packages, '@vladmandic', 'human', 'models');
// By its path, as Human's own examples do: the package does not export its WASM build by name.
const require = createRequire(import.meta.url);
const { Human } = require(join(packages, '@vladmandic', 'human', 'dist', 'human.node-wasm.js'));

// In node, the WASM backend fetches its networks over HTTP.
const server = createServer((request, response) => {
  response.end(readFileSync(join(models, request.url.split('/').pop().split('?')[0])));
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

const off = { enabled: false };
const human = new Human({
  backend: 'wasm',
  wasmPath: join(packages, '@tensorflow', 'tfjs-backend-wasm', 'dist') + '/',
  modelBasePath: `http://127.0.0.1:${server.address().port}/`,
  cacheSensitivity: 0, // every frame is a new one
  debug: false,
  filter: off,
  gesture: off,
  body: off,
  hand: off,
  object: off,
  face: {
    enabled: true,
    detector: { rotation: true, maxDetected: 4 },
    mesh: { enabled: true },
    description: { enabled: true },
    iris: off,
    emotion: off,
    antispoof: off,
    liveness: off,
  },
});
await human.load();

function read(name) {
  const { height, width } = JSON.parse(readFileSync(join(process.argv[2], `${name}.json`)));
  return { pixels: readFileSync(join(process.argv[2], `${name}.rgb`)), height, width };
}

async function faces({ pixels, height, width }) {
  const tensor = human.tf.tensor(new Uint8Array(pixels), [1, height, width, 3], 'float32');
  const result = await human.detect(tensor);
  human.tf.dispose(tensor);
  return result.face;
}

const [enrolled] = await faces(read('enrolled'));
const gallery = [Array.from(enrolled.embedding)];
for (let n = 1; n < ENROLLED; n++) {
  gallery.push(Array.from(enrolled.embedding, () => Math.random()));
}
const frame = read('frame');
const times = [];
let found = true;
await faces(frame);
for (let n = 0; n < ROUNDS; n++) {
  const began = performance.now();
  const seen = await faces(frame);
  const best = seen.map((face) => human.match.find(face.embedding, gallery).index);
  times.push(performance.now() - began);
  found &&= best.includes(0);
}
console.log(JSON.stringify({ name: `Human ${human.version}, WASM`, times_ms: times, found }));
process.exit(0);
