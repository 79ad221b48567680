/** The page: one file with everything in it. Its content security policy forbids any request to a network. */
import * as fs from 'node:fs/promises';
import type { Chart, Table } from './charts';
import type { RunData } from './read';

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
${comparison ? `<section><h2>The runs side by side</h2>${table(comparison, 'comparison')}</section>` : ''}
${sections.map(section).join('\n')}
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

function section({ run, sentences, charts, svg }: Section, index: number): string {
  return `<section class="run">
<h2>${escapeText(run.name)}</h2>
<div class="summary">${sentences.map((sentence) => `<p>${emphasise(escapeText(sentence))}</p>`).join('')}</div>
${charts.map((chart) => figure(chart, `r${index}`, svg)).join('\n')}
${run.configText ? `<h3>Configuration</h3><details><summary>config.yaml</summary><pre>${escapeText(run.configText)}</pre></details>` : ''}
${Object.keys(run.system).length ? `<details><summary>system.json (versions and machine)</summary><pre>${escapeText(JSON.stringify(run.system, null, 2))}</pre></details>` : ''}
</section>`;
}

function figure(chart: Chart, prefix: string, svg: Map<string, string>): string {
  const [first] = chart.views;
  return `<figure id="${prefix}-${chart.id}">
<h3>${escapeText(chart.title)}</h3>${controls(chart, prefix)}
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

const STYLE = `
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f5f7; color: #1d232b; font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0 1.5rem; }
h2 { font-size: 1.25rem; margin: 2rem 0 .75rem; }
h3 { font-size: 1.05rem; margin: 0 0 .5rem; }
.summary, figure { background: #fff; border: 1px solid #dde1e6; border-radius: 8px; padding: 1rem 1.25rem; margin: 0 0 1.25rem; }
.summary p { margin: .5rem 0; max-width: 75ch; }
.chart { width: 100%; height: 420px; }
.chart > svg { width: 100%; height: 100%; }
figcaption { color: #454d57; font-size: .9rem; max-width: 80ch; margin-top: .5rem; }
.controls { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1.25rem; margin: 0 0 .5rem; font-size: .9rem; }
.controls label { display: flex; align-items: center; gap: .5rem; }
select { font: inherit; padding: .25rem .5rem; border: 1px solid #868e98; border-radius: 4px; background: #fff; color: inherit; max-width: 100%; }
details { margin-top: .75rem; font-size: .9rem; }
summary { cursor: pointer; padding: .25rem 0; }
.scroll { overflow: auto; max-height: 28rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #e6e9ed; text-align: left; white-space: nowrap; }
th { position: sticky; top: 0; background: #fff; }
td.n { text-align: right; }
pre { overflow: auto; max-height: 28rem; background: #fff; border: 1px solid #dde1e6; border-radius: 6px; padding: .75rem; font-size: .8rem; }
a { color: #0b5cad; }
:focus-visible { outline: 3px solid #0072B2; outline-offset: 2px; }
@media (max-width: 40rem) { main { padding: .75rem .5rem 3rem; } .summary, figure { padding: .75rem; } .chart { height: 360px; } }
@media print {
  body { background: #fff; font-size: 10.5pt; } main { max-width: none; padding: 0; }
  figure, .summary { break-inside: avoid; border-color: #999; } .controls, .data, .csv, details { display: none; } .chart { height: 330px; }
}`;

// The drawings in the page are complete without this script; it makes them interactive.
const SCRIPT = `
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const options = read('options');
  const steps = read('steps');
  const charts = [];
  for (const figure of document.querySelectorAll('figure')) {
    const box = figure.querySelector('.chart');
    const select = figure.querySelector('select');
    const views = figure.querySelector('.views');
    const slider = figure.querySelector('.steps');
    const title = figure.querySelector('h3').textContent;
    box.textContent = '';
    const chart = echarts.init(box, null, { renderer: 'svg' });
    charts.push(chart);
    const step = () => {
      const { name, data } = steps[box.dataset.view][slider.value];
      chart.setOption({ series: [{ data }] });
      figure.querySelector('output').textContent = name;
      slider.setAttribute('aria-valuetext', name);
    };
    const show = () => {
      if (select) {
        box.dataset.view = select.value;
        box.setAttribute('aria-label', title + ': ' + select.selectedOptions[0].text);
      }
      chart.setOption(structuredClone(options[box.dataset.view]), { notMerge: true });
      if (views) {
        views.value = select.selectedIndex;
        views.setAttribute('aria-valuetext', select.selectedOptions[0].text);
      }
      if (slider) {
        const names = steps[box.dataset.view].map(({ name }) => name);
        const same = names.indexOf(figure.querySelector('output').textContent);
        slider.max = names.length - 1;
        slider.value = same < 0 ? slider.max : same;
        step();
      }
    };
    select?.addEventListener('change', show);
    slider?.addEventListener('input', step);
    views?.addEventListener('input', () => {
      select.selectedIndex = views.value;
      show();
    });
    show();
  }
  const fit = () => charts.forEach((chart) => chart.resize());
  new ResizeObserver(fit).observe(document.querySelector('main'));
  addEventListener('beforeprint', fit);
  addEventListener('afterprint', fit);
})();`;
