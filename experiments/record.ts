/**
 * Puts finished experiments on record: npm run record -- RUNS [RUNS ...]
 * RUNS holds folders of experiments on one corpus. Their results.jsonl and summary.json go to results/<RUNS>/<experiment>/, the figures
 * that RESULTS.md shows beside them, and between `<!-- verdicts: <RUNS>/<experiment> -->` and `<!-- end -->` RESULTS.md gets what
 * summary.json says: nothing in there is written by hand.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { packageRoot } from '../lib/binding';
import { printError } from '../lib/cli/command';
import { clock } from '../lib/cli/progress';
import type { ExperimentSummary } from '../lib/experiments/summary';
import { report } from '../lib/report';

const document = path.join(packageRoot, 'RESULTS.md');
const records = path.join(packageRoot, 'results');

/** What RESULTS.md says about an experiment on record. */
function verdictBlock({ cost, seeds, unitUpdates, verdicts }: ExperimentSummary): string {
  const hours = (cost.audioSeconds / 3600).toFixed(1);
  return [
    `${cost.cells} cells of ${seeds.length} seeds, ${unitUpdates} updates in an iteration; ${hours} hours of audio trained on here (iterations taken over ` +
      `from other experiments not counted), ${clock(cost.seconds)}.`,
    '',
    ...verdicts.map(({ sentence }) => `- ${sentence}`),
  ].join('\n');
}

/** The document with what each block between marks says about its experiment. */
export const withVerdicts = (text: string): string =>
  text.replace(
    /(<!-- verdicts: (\S+) -->)\n.*?(<!-- end -->)/gs,
    (_, begin, name, end) => `${begin}\n\n${verdictBlock(readSummary(name))}\n\n${end}`,
  );

const readSummary = (name: string): ExperimentSummary =>
  JSON.parse(fs.readFileSync(path.join(records, name, 'summary.json'), 'utf8'));

async function record(name: string, from: string): Promise<void> {
  const to = path.join(records, name);
  fs.mkdirSync(to, { recursive: true });
  for (const file of ['results.jsonl', 'summary.json']) fs.copyFileSync(path.join(from, file), path.join(to, file));
  const drawn = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-record-'));
  try {
    const { figures } = await report(from, { out: path.join(drawn, 'report.html') });
    const text = fs.readFileSync(document, 'utf8');
    for (const figure of figures)
      if (text.includes(`results/${name}/${path.basename(figure)}`))
        fs.copyFileSync(figure, path.join(to, path.basename(figure)));
  } finally {
    fs.rmSync(drawn, { recursive: true });
  }
}

async function main(folders: string[]): Promise<void> {
  for (const folder of folders)
    for (const name of fs.readdirSync(folder))
      if (fs.existsSync(path.join(folder, name, 'summary.json')))
        await record(`${path.basename(path.resolve(folder))}/${name}`, path.join(folder, name));
  fs.writeFileSync(document, withVerdicts(fs.readFileSync(document, 'utf8')));
}

if (require.main === module)
  main(process.argv.slice(2)).catch((error) => {
    process.exitCode = printError(error);
  });
