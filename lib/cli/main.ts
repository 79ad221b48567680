#!/usr/bin/env node
/** The command line. Each command is a file of its own and loads what it needs only when it runs. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { Command, CommanderError } from 'commander';
import * as analyze from './analyze';
import * as bench from './bench';
import { EXIT } from './command';
import * as corpus from './corpus';
import * as demo from './demo';
import * as doctor from './doctor';
import * as experiment from './experiment';
import * as finetune from './finetune';
import * as kmeans from './kmeans';
import * as pretrain from './pretrain';
import * as report from './report';
import * as resetSweep from './reset-sweep';
import * as selftest from './selftest';

const description =
  'Pretrains HuBERT, relabels it with k-means, measures where information lives in its layers while it trains, and runs layer-reset experiments.';

function version(): string {
  const file = path.resolve(__dirname, '..', '..', '..', 'package.json');
  return (JSON.parse(fs.readFileSync(file, 'utf8')) as { version: string }).version;
}

async function main(): Promise<void> {
  const program = new Command('hubertkit').description(description).version(version(), '-v, --version');
  program.exitOverride().showHelpAfterError('(--help shows what can be given)');
  for (const part of [
    demo,
    corpus,
    pretrain,
    analyze,
    finetune,
    resetSweep,
    experiment,
    report,
    kmeans,
    selftest,
    bench,
    doctor,
  ]) {
    part.register(program);
  }
  program.addHelpText(
    'after',
    '\nExit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. HUBERTKIT_DEBUG=1 prints stacks;\nHUBERTKIT_TRACE=file adds a Chrome trace of every op to a file.',
  );
  try {
    await program.parseAsync();
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
  }
}

// A reader that has seen enough (`| head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});
main();
