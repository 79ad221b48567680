import type { Command } from 'commander';
import { print, run } from './command';

export function register(program: Command): void {
  program
    .command('report')
    .description('write a self-contained report.html (and its charts as SVG files) about runs and experiments')
    .argument('<folder...>', 'folders of runs or experiments, or folders that hold them')
    .option('-o, --out <file>', 'the page (default: report.html in the first folder)')
    .action((folders: string[], options: { out?: string }) =>
      run(async () => {
        const { report } = require('../report') as typeof import('../report');
        const result = await report(folders, options);
        print(`${result.summary.join('\n\n')}\n`);
        print(
          `${result.figures.length} charts as SVG files: ${require('node:path').dirname(result.figures[0] ?? result.html)}`,
        );
        print(result.html);
      }),
    );
}
