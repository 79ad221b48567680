import type { Command } from 'commander';
import { colours, EXIT, jsonOption, print, printJson, run } from './command';

const MARK = { ok: ['32', 'ok     '], missing: ['1;31', 'MISSING'], absent: ['33', 'absent '] } as const;

export function register(program: Command): void {
  program
    .command('doctor')
    .description('show what this machine offers and what is missing')
    .option(...jsonOption)
    .action((options: { json?: boolean }) =>
      run(async () => {
        const { doctor } = require('../doctor') as typeof import('../doctor');
        const checks = await doctor();
        const missing = checks.filter(({ status }) => status === 'missing').length;
        if (options.json) {
          printJson({ ok: missing === 0, checks });
        } else {
          for (const { name, status, found, advice } of checks) {
            const [colour, word] = MARK[status];
            print(`${colours(process.stdout) ? `\x1b[${colour}m${word}\x1b[0m` : word}  ${name.padEnd(19)} ${found}`);
            if (advice) print(`${' '.repeat(29)}-> ${advice}`);
          }
          print(missing ? `\n${missing} missing.` : '\nEverything that is needed is here.');
        }
        if (missing) process.exitCode = EXIT.failed;
      }),
    );
}
