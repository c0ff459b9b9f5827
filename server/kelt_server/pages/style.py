"""The pages' style sheet."""
# ruff: noqa: E501 # one rule a line

STYLE = """
:root { color-scheme: light dark; --ink: #1d2429; --quiet: #66757f; --line: #dde3e7; --paper: #fbfcfc;
  --card: #fff; --own: #eef5f8; --link: #0b6b8a; --good: #1b7f4b; --bad: #b3261e; --warn: #9a6700; --live: #0b6b8a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4eaed; --quiet: #93a2ab; --line: #2b353b;
  --paper: #14191c; --card: #1a2125; --own: #20303a; --link: #6cc3e0; --good: #63c791; --bad: #f2857c;
  --warn: #e0b04c; --live: #6cc3e0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
header { padding: .8rem 1.5rem; border-bottom: 1px solid var(--line); }
main { max-width: 76rem; margin: 0 auto; padding: 1rem 1.5rem 4rem; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
.mark { font-weight: 700; letter-spacing: .02em; }
h1 { font-size: 1.5rem; margin: .6rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .45rem .8rem; border-top: 1px solid var(--line); vertical-align: top; }
thead th, tbody:first-child tr:first-child > * { border-top: 0; }
thead th { color: var(--quiet); font-weight: 500; font-size: .85rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.quiet { color: var(--quiet); }
.listed { white-space: nowrap; } .listed td > .quiet { white-space: normal; }
.listed .name { white-space: normal; overflow-wrap: anywhere; min-width: 9rem; max-width: 30rem; }
.listed .indented { padding-left: 2.2rem; } .own > * { background: var(--own); }
.listed .bar { width: 30%; min-width: 9rem; vertical-align: middle; color: var(--quiet); } .own .bar { color: var(--link); }
.bar svg { display: block; width: 100%; height: .75rem; }
.values { table-layout: fixed; } .values th { width: 16rem; font-weight: 500; }
@media (max-width: 40rem) { .values th { width: 34%; } }
.values th, .values td { overflow-wrap: anywhere; }
.values img { max-width: 100%; max-height: 12rem; min-height: 4rem; margin: 0 .5rem .5rem 0; border-radius: 4px;
  vertical-align: middle; }
.values audio, .values video { max-width: 100%; max-height: 16rem; } .values svg { width: 14rem; max-width: 100%;
  height: 3.5rem; display: block; color: var(--link); }
.state { display: inline-block; padding: 0 .55rem; border-radius: 1rem; border: 1px solid currentColor;
  font-size: .85rem; }
.running { color: var(--live); } .finished { color: var(--good); } .failed, .crashed, .killed { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
.notices { color: var(--warn); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: .8rem; }
figure { margin: 0; padding: .6rem .8rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; color: var(--link); }
figcaption { color: var(--ink); font-size: .85rem; overflow: hidden; white-space: nowrap; text-overflow: ellipsis; }
figure { display: grid; grid-template-columns: 1fr auto; gap: .3rem .8rem; }
figcaption, figure > svg, figure > p { grid-column: 1 / -1; } figure > svg { width: 100%; height: 3.5rem; }
figure > span { font-size: .9rem; } figure > .quiet { white-space: nowrap; }
figure > .range { color: var(--quiet); font-size: .8rem; align-self: end; text-align: right; }
details { margin-top: 1.2rem; } summary { cursor: pointer; margin-bottom: .6rem; color: var(--quiet); }
code { font-size: .9em; overflow-wrap: anywhere; }
pre { margin: 0; }
pre.text, .console { font-size: .8rem; overflow: auto; padding: .6rem .8rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px; }
/* Of a long console the end is seen first. */
.console { max-height: 30rem; display: flex; flex-direction: column-reverse; } .stderr { color: var(--warn); }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
.badge { padding: 0 .4rem; border: 1px solid var(--line); border-radius: 4px; font-size: .85rem; color: var(--quiet);
  white-space: nowrap; }
nav { display: flex; gap: 1.2rem; margin: .4rem 0 1rem; } nav .here { color: var(--ink); font-weight: 600; }
form { margin: .6rem 0; } input[type=search] { width: 100%; max-width: 22rem; padding: .35rem .6rem; font: inherit;
  color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: 6px; }
"""
