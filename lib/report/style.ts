/** The style sheet of the page: light and dark, wide and narrow, on paper. */
import { DARK, INK, PAPER, QUIET } from './colours';

export const STYLE = `
:root { color-scheme: light dark; --page: #f4f5f7; --paper: ${PAPER}; --ink: ${INK}; --quiet: ${QUIET}; --edge: #dde1e6; --control: #868e98; --link: #0b5cad; --focus: #0072b2; }
@media screen and (prefers-color-scheme: dark) { :root { --page: #0f1216; --paper: ${DARK[PAPER]}; --ink: ${DARK[INK]}; --quiet: ${DARK[QUIET]}; --edge: #2c333c; --control: #6b7480; --link: #7db8f0; --focus: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2rem 0 .75rem; overflow-wrap: anywhere; }
h3 { font-size: 1.05rem; margin: 0 0 .5rem; }
.summary, figure { background: var(--paper); border: 1px solid var(--edge); border-radius: 8px; padding: 1rem 1.25rem; margin: 0 0 1.25rem; }
.summary p { margin: .5rem 0; max-width: 75ch; }
nav ul { margin: 0 0 1.25rem; padding-left: 1.25rem; }
.chart { width: 100%; height: 420px; }
.chart > svg { width: 100%; height: 100%; }
figcaption { color: var(--quiet); font-size: .9rem; max-width: 80ch; margin-top: .5rem; }
.controls { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1.25rem; margin: 0 0 .75rem; font-size: .9rem; }
.controls label { display: flex; align-items: center; gap: .5rem; max-width: 100%; }
.controls output { min-width: 14em; }
select { font: inherit; padding: .25rem .5rem; border: 1px solid var(--control); border-radius: 4px; background: var(--paper); color: inherit; max-width: 100%; min-width: 0; }
details { margin-top: .75rem; font-size: .9rem; }
summary { cursor: pointer; padding: .25rem 0; }
.scroll { overflow: auto; max-height: 28rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--edge); text-align: left; }
th { white-space: nowrap;  position: sticky; top: 0; background: var(--paper); }
td { min-width: 6ch; white-space: normal; } td.n { text-align: right; white-space: nowrap; }
figure > .scroll td:not(.n) { min-width: 12ch; }
pre { overflow: auto; max-height: 28rem; background: var(--paper); border: 1px solid var(--edge); border-radius: 6px; padding: .75rem; font-size: .8rem; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
@media (max-width: 40rem) {
  main { padding: .75rem .5rem 3rem; } .summary, figure { padding: .75rem; }
  .chart { height: 340px; } summary { padding: .5rem 0; } select { padding: .4rem .5rem; }
}
@page { margin: 14mm; }
@media print {
  :root { color-scheme: light; }
  body { background: none; font-size: 10.5pt; } main { max-width: none; padding: 0; }
  figure, .summary p, tr { break-inside: avoid; } h1, h2, h3 { break-after: avoid; }
  figure, .summary { border: 0; padding: 0; }
  .controls label, .csv, details { display: none; } .scroll { max-height: none; overflow: visible; }
  figure > .scroll :is(th, td) { white-space: normal; overflow-wrap: anywhere; min-width: 0; padding: .15rem .3rem; font-size: .7rem; }
  .chart { width: 640px; height: 320px; }
}`;
