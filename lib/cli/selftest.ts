import type { Command } from 'commander';
import type { Precision } from '../nn/graph';
import type { SelftestResult } from '../selftest';
import { deviceOf, deviceOption, EXIT, jsonOption, print, printJson, run } from './command';

export function register(program: Command): void {
  program
    .command('selftest')
    .description('compare every op, value and gradient, with its formula in double precision')
    .option(...deviceOption)
    .option('--precision <p>', 'f32 or bf16', 'f32')
    .option('--only <name>', 'only ops whose name contains this')
    .option(...jsonOption)
    .action((options: { device: string; precision: string; only?: string; json?: boolean }) =>
      run(async ({ signal }) => {
        const { selftest } = require('../selftest') as typeof import('../selftest');
        const { checkedPrecision } = require('../nn/steps') as typeof import('../nn/steps');
        const { only, json } = options;
        const device = deviceOf(options.device);
        const precision = checkedPrecision(options.precision as Precision, device);
        if (!json) print(line('op', 'size', 'check', 'error', 'bound', ''));
        const summary = await selftest({ device, precision, only, signal, onResult: json ? undefined : show });
        if (json) printJson(summary);
        else print(`\n${summary.passed} passed, ${summary.failed} failed`);
        if (summary.failed) process.exitCode = EXIT.failed;
      }),
    );
}

function show({ op, size, check, error, bound, passed, message }: SelftestResult): void {
  print(line(op, size, check, error.toExponential(1), bound.toExponential(0), passed ? 'ok' : 'FAILED'));
  if (message) print(`  ${message}`);
}

function line(...[op, size, check, error, bound, verdict]: string[]): string {
  return [op.padEnd(26), size.padEnd(34), check.padEnd(8), error.padStart(8), bound.padStart(6), verdict]
    .join('  ')
    .trimEnd();
}
