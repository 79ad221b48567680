/** Runs an experiment in its own process, which a test can kill: node child.js NAME CORPUS OUT HOURS. Tells each event on a line. */
import * as fs from 'node:fs';
import { runExperiment } from '../../lib/experiments/engine';
import { microExperiment } from './micro';

const [name, corpus, out, hours] = process.argv.slice(2);
const options = { ...microExperiment(corpus, out, name), audioHours: Number(hours) };
runExperiment(options, { onProgress: ({ phase }) => fs.writeSync(1, `${phase}\n`) }).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
