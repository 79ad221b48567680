/** The page: one file with everything in it. Its content security policy forbids any request to a network. */
import * as fs from 'node:fs/promises';
import type { Chart, Table } from './charts';
import type { RunData } from './read';
import { SCRIPT } from './script';
import { STYLE } from './style';

/** One run as the page shows it; `svg` holds the drawing of every view by its id. */
export interface Section {
  run: RunData;
  sentences: string[];
  charts: Chart[];
  svg: Map<string, string>;
}

const SHOWN_ROWS = 300;

/** The whole page. `comparison` is shown first when there are several runs. */
export async function page(sections: Section[], comparison: Table | undefined): Promise<string> {
  const echarts = await fs.readFile(require.resolve('echarts/dist/echarts.min.js'), 'utf8');
  const title = `hubertkit report: ${sections.map(({ run }) => run.name).join(', ')}`;
  const views = sections.flatMap(({ charts }, index) =>
    charts.flatMap((chart) => chart.views.map((view) => ({ ...view, id: `r${index}-${view.id}` }))),
  );
  const options = Object.fromEntries(views.map(({ id, option }) => [id, option]));
  const steps = Object.fromEntries(views.flatMap((view) => (view.steps ? [[view.id, view.steps]] : [])));
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:">
<title>${escapeText(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escapeText(title)}</h1>
${sections.length > 1 ? contents(sections) : ''}
${comparison ? `<section><h2>The runs side by side</h2>${table(comparison, 'comparison')}</section>` : ''}
${sections.map((part, index) => section(part, index, sections.length > 1)).join('\n')}
</main>
${json('options', options)}
${json('steps', steps)}
<script>${echarts.replaceAll('</script', '<\\/script')}</script>
<script>${SCRIPT}</script>
</body>
</html>
`;
}

/** Data for the script of the page. */
function json(id: string, value: unknown): string {
  return `<script type="application/json" id="${id}">${JSON.stringify(value).replaceAll('<', '\\u003c')}</script>`;
}

/** Links to the runs. */
function contents(sections: Section[]): string {
  const links = sections.map(({ run }, index) => `<li><a href="#r${index}">${escapeText(run.name)}</a></li>`);
  return `<nav aria-label="Runs"><ul>${links.join('')}</ul></nav>`;
}

function section({ run, sentences, charts, svg }: Section, index: number, titled: boolean): string {
  return `<section id="r${index}">
${titled ? `<h2>${escapeText(run.name)}</h2>` : ''}
<div class="summary">${sentences.map((sentence) => `<p>${emphasise(escapeText(sentence))}</p>`).join('')}</div>
${charts.map((chart) => figure(chart, `r${index}`, svg)).join('\n')}
${run.configText ? file('Configuration (config.yaml)', run.configText) : ''}
${Object.keys(run.system).length ? file('Versions and machine (system.json)', JSON.stringify(run.system, null, 2)) : ''}
</section>`;
}

function file(name: string, content: string): string {
  return `<details><summary>${name}</summary><pre>${escapeText(content)}</pre></details>`;
}

function figure(chart: Chart, prefix: string, svg: Map<string, string>): string {
  const [first] = chart.views;
  const id = `${prefix}-${chart.id}`;
  return `<figure id="${id}" aria-labelledby="${id}-title">
<h3 id="${id}-title">${escapeText(chart.title)}</h3>${controls(chart, prefix)}
<div class="chart" role="img" aria-label="${escapeText(`${chart.title}: ${first.name}`)}" data-view="${prefix}-${first.id}">${svg.get(first.id) ?? ''}</div>
<figcaption>${escapeText(chart.caption)}</figcaption>
<details class="data"><summary>The numbers (${chart.table.rows.length} rows)</summary>${table(chart.table, chart.id)}</details>
</figure>`;
}

/** A selector of views, and a slider: over the steps of a view (checkpoints) or else over the views. */
function controls({ views }: Chart, prefix: string): string {
  const options = views.map(({ id, name }) => `<option value="${prefix}-${id}">${escapeText(name)}</option>`).join('');
  const select = `<label>Show <select>${options}</select></label>`;
  const range = (kind: string, last: number, value: number, name: string) =>
    `<label>${name} <input type="range" class="${kind}" min="0" max="${last}" value="${value}"></label>`;
  const { steps } = views[0];
  const parts = [
    views.length > 1 && select,
    views.length > 1 && !steps && range('views', views.length - 1, 0, 'Slide'),
    steps && range('steps', steps.length - 1, steps.length - 1, 'Checkpoint'),
    steps && `<output>${escapeText(steps.at(-1)!.name)}</output>`,
  ];
  return parts.some(Boolean) ? `<div class="controls">${parts.filter(Boolean).join(' ')}</div>` : '';
}

function table({ columns, rows }: Table, name: string): string {
  const text = (value: unknown) =>
    value === null ? '' : typeof value === 'number' ? String(Number(value.toPrecision(6))) : escapeText(String(value));
  const body = rows
    .slice(0, SHOWN_ROWS)
    .map(
      (row) =>
        `<tr>${row.map((value) => `<td${typeof value === 'number' ? ' class="n"' : ''}>${text(value)}</td>`).join('')}</tr>`,
    )
    .join('');
  const more = rows.length > SHOWN_ROWS ? `<p>${rows.length - SHOWN_ROWS} more rows are in the CSV file.</p>` : '';
  const data = Buffer.from(csv({ columns, rows })).toString('base64');
  return `<p><a class="csv" download="${name}.csv" href="data:text/csv;base64,${data}">Download as CSV</a></p>
<div class="scroll"><table><thead><tr>${columns.map((column) => `<th scope="col">${escapeText(column)}</th>`).join('')}</tr></thead><tbody>${body}</tbody></table></div>${more}`;
}

/** RFC 4180. */
export function csv({ columns, rows }: Table): string {
  const quote = (value: unknown) => {
    const text = value === null ? '' : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows].map((row) => `${row.map(quote).join(',')}\r\n`).join('');
}

function escapeText(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** The words before the first colon, and NOT, stand out. */
function emphasise(sentence: string): string {
  return sentence
    .replace(/^([A-Z][\w -]{2,40})(?= \(|:)/, '<strong>$1</strong>')
    .replaceAll(' NOT ', ' <strong>not</strong> ');
}
