/** The page: one file with everything in it. Its content security policy forbids any request to a network. */
import * as fs from 'node:fs/promises';
import type { Chart, Listing, Table } from './chart';
import { SCRIPT } from './script';
import { STYLE } from './style';

/** A part of the page: a run, a comparison of runs, an experiment. */
export interface Section {
  id: string;
  name: string;
  sentences: string[];
  listings: Listing[];
  charts: Chart[];
  /** Shown as they are: configuration, versions. */
  files: { name: string; content: string }[];
}

const SHOWN_ROWS = 300;

/** The whole page; `drawings` holds the SVG of every view by section and view. */
export async function page(sections: Section[], drawings: Map<string, string>): Promise<string> {
  const echarts = await fs.readFile(require.resolve('echarts/dist/echarts.min.js'), 'utf8');
  const subjects = sections.filter(({ id }) => id !== 'comparison');
  const title = `hubertkit report: ${subjects.map(({ name }) => name).join(', ')}`;
  const views = sections.flatMap(({ id: prefix, charts }) =>
    charts.flatMap((chart) => chart.views.map((view) => ({ ...view, id: `${prefix}-${view.id}` }))),
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
${subjects.length > 1 ? contents(subjects) : ''}
${sections.map((part) => section(part, sections.length > 1, drawings)).join('\n')}
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

/** Links to the sections. */
function contents(sections: Section[]): string {
  const links = sections.map(({ id, name }) => `<li><a href="#${id}">${escapeText(name)}</a></li>`);
  return `<nav aria-label="Contents"><ul>${links.join('')}</ul></nav>`;
}

function section(
  { id, name, sentences, listings, charts, files }: Section,
  titled: boolean,
  svg: Map<string, string>,
): string {
  const paragraphs = sentences.map((sentence) => `<p>${emphasise(escapeText(sentence))}</p>`).join('');
  return `<section id="${id}">
${titled ? `<h2>${escapeText(name)}</h2>` : ''}
${paragraphs ? `<div class="summary">${paragraphs}</div>` : ''}
${listings.map((listing) => listed(listing, id)).join('\n')}
${charts.map((chart) => drawn(chart, id, svg)).join('\n')}
${files.map((file) => `<details><summary>${escapeText(file.name)}</summary><pre>${escapeText(file.content)}</pre></details>`).join('\n')}
</section>`;
}

/** A table that is its own figure. */
function listed(listing: Listing, prefix: string): string {
  return figure(listing, prefix, (caption) => `${table(listing.table, listing.id)}${caption}`);
}

/** A chart with its controls, and its table below. */
function drawn(chart: Chart, prefix: string, svg: Map<string, string>): string {
  const [first] = chart.views;
  const view = `${prefix}-${first.id}`;
  return figure(
    chart,
    prefix,
    (caption) => `${controls(chart, prefix)}
<div class="chart" role="img" aria-label="${escapeText(`${chart.title}: ${first.name}`)}" data-view="${view}">${svg.get(view) ?? ''}</div>
${caption}
<details class="data"><summary>The numbers (${chart.table.rows.length} rows)</summary>${table(chart.table, chart.id)}</details>`,
  );
}

function figure({ id, title, caption }: Listing, prefix: string, body: (caption: string) => string): string {
  return `<figure id="${prefix}-${id}" aria-labelledby="${prefix}-${id}-title">
<h3 id="${prefix}-${id}-title">${escapeText(title)}</h3>
${body(caption && `<figcaption>${escapeText(caption)}</figcaption>`)}
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

export function escapeText(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** The words before the first colon, and NOT, stand out. */
function emphasise(sentence: string): string {
  return sentence
    .replace(/^([A-Z][\w -]{2,40})(?= \(|:)/, '<strong>$1</strong>')
    .replaceAll(' NOT ', ' <strong>not</strong> ');
}
