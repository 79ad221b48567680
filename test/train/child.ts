/** Runs a micro pretraining in its own process, which a test can kill: node child.js CORPUS OUT. Tells each event on a line. */
import * as fs from 'node:fs';
import { pretrain } from '../../lib/train/pretrain';
import { microConfig } from './micro';

const [corpus, out] = process.argv.slice(2);
pretrain(microConfig(corpus, out), { onProgress: ({ kind }) => fs.writeSync(1, `${kind}\n`) }).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
