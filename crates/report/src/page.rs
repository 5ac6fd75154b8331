//! The frame of every page: one file that loads nothing, for light and dark, narrow and wide.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A page of this title. `live` pages load themselves anew when the address `events` says so.
pub fn page(title: &str, live: bool, body: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                (body)
                @if live { script { (PreEscaped(LIVE)) } }
            }
        }
    };
    page.into_string()
}

/// A live page that says why there is nothing to see yet.
pub fn waiting_page(title: &str, why: &str) -> String {
    page(
        title,
        true,
        html! { p.alert { (why) } p { "This page shows itself anew when there is something to see." } },
    )
}

/// Numbers of a row of a table of the class `stack`, each with the head of its column: in a narrow window the row is a card.
pub(crate) fn numbers<const N: usize>(heads: [&str; N], cells: [String; N]) -> Markup {
    html! { @for (head, cell) in heads.into_iter().zip(cells) { td.n data-head=(head) { (cell) } } }
}

/// Where the reader was, is kept.
const LIVE: &str = "new EventSource('events').onmessage=()=>location.reload();";

/// Colours by their names, for both schemes; everything else follows them.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1f2328;--grey:#59636e;--pale:#d1d9e0;--ground:#ffffff;--card:#f6f8fa;\
--c0:#0072b2;--c1:#c2410c;--c2:#007a5a;--c3:#a3478a;--c4:#946c00;--c5:#24292f;--c6:#2d8fc4}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--grey:#9da7b3;--pale:#3d444d;--ground:#0d1117;--card:#161b22;\
--c0:#58a6ff;--c1:#ff8c5a;--c2:#3fca9a;--c3:#e28bd0;--c4:#e0b23c;--c5:#e6edf3;--c6:#7cc7ee}}\
*{box-sizing:border-box}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);max-width:78rem;margin:1.5rem auto;padding:0 1rem}\
h1{font-size:1.6rem;line-height:1.25;overflow-wrap:anywhere}h2{font-size:1.2rem;margin:0 0 .5rem}h3{font-size:1rem;margin:.8rem 0 .3rem}\
p{margin:.4rem 0;max-width:52rem}nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:.5rem 0 1rem}a{color:var(--c0)}\
section{background:var(--card);border:1px solid var(--pale);border-radius:8px;padding:1rem;margin:1rem 0;scroll-margin-top:1rem}\
.row{display:flex;flex-wrap:wrap;gap:1rem 1.5rem;align-items:flex-start}.row>figure{flex:1 1 24rem;min-width:0;margin:0}\
.wide,.row>figure{overflow-x:auto;max-width:100%}.wide th,.wide td{white-space:nowrap}.wide .free td{white-space:normal;overflow-wrap:anywhere}\
figure{margin:.6rem 0}figcaption,.note{color:var(--grey);font-size:.87rem}\
svg{display:block;width:100%;max-width:620px;height:auto}img{image-rendering:pixelated;display:inline-block;vertical-align:middle;margin:2px;\
max-width:100%}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.2rem .7rem .2rem 0;text-align:left;vertical-align:top;\
border-bottom:1px solid var(--pale)}th{font-weight:600}.n{text-align:right}td.m{text-align:right;padding:.2rem .5rem;min-width:2.6rem}\
th.m{text-align:right;padding:.2rem .5rem;max-width:7rem;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}\
code{font:13px/1.45 ui-monospace,monospace;overflow-wrap:anywhere}pre{overflow-x:auto;margin:.4rem 0}\
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:1rem}.cards>figure{margin:0}\
.cards>.narrow{max-width:none}.figures{display:flex;flex-wrap:wrap;gap:.5rem 2rem;margin:.5rem 0}.figures div{min-width:7rem}\
.figures b{display:block;font-size:1.35rem;line-height:1.3;font-variant-numeric:tabular-nums}.figures span{color:var(--grey);font-size:.87rem}\
.bar{display:grid;grid-template-columns:4rem 1fr 3.6rem;gap:.4rem;font-size:.85rem;align-items:center}\
.bar>:first-child{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.bar>:last-child{text-align:right;font-variant-numeric:tabular-nums}\
.bar i{display:block;height:.55rem;border-radius:2px;background:var(--c0)}.bar.true i{background:var(--c2)}.bar.said i{background:var(--c1)}\
.cards.small{grid-template-columns:repeat(auto-fill,minmax(8rem,1fr))}\
.maps{display:flex;flex-wrap:wrap;gap:2px}.alert{border-left:4px solid var(--c1);padding-left:.7rem}\
@media(max-width:40rem){section{padding:.7rem}svg text{font-size:17px}table{font-size:.82rem}th,td{padding-right:.45rem}\
.wide th,.wide .breaks{white-space:normal}td.m,th.m{padding:.15rem .12rem;min-width:0;font-size:.75rem}\
table.small{font-size:.75rem}.small th,.small td{padding-right:.3rem}\
.stack,.stack tbody{display:block}.stack tr{display:grid;grid-template-columns:repeat(4,1fr);gap:.1rem .6rem;padding:.4rem 0;\
border-bottom:1px solid var(--pale)}.stack tr:first-child,.stack td:empty{display:none}.stack td,.stack th{border:0;padding:0;white-space:normal}\
.stack td:first-child,.stack .all,.stack th{grid-column:1/-1}.stack td.n{text-align:left}.stack [data-head]::before{content:attr(data-head);display:block;\
color:var(--grey);font-size:.75rem}.stack img{margin:0}.pairs tr{grid-template-columns:1fr 4rem}}";
