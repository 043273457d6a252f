"""The page's style sheet. Text contrast is at least 4.5:1 in both schemes (``tests/demo`` computes it)."""

LIGHT = {
    "page": "#f4f5f7",
    "card": "#ffffff",
    "text": "#1b1f24",
    "muted": "#57606a",
    "line": "#d0d7de",
    "link": "#0550ae",
    "code": "#f6f8fa",
    "focus": "#fff4ce",
    "why": "#7a4100",
    "high": "#b3261e",
    "medium": "#8a4b00",
    "low": "#0550ae",
    "informational": "#57606a",
    "badge": "#ffffff",
}
DARK = {
    "page": "#0f1318",
    "card": "#181d24",
    "text": "#e6e9ee",
    "muted": "#a3adb8",
    "line": "#343c46",
    "link": "#7cb7ff",
    "code": "#11161c",
    "focus": "#3a2f0b",
    "why": "#ffc86b",
    "high": "#ff8a80",
    "medium": "#ffb74d",
    "low": "#7cb7ff",
    "informational": "#a3adb8",
    "badge": "#0f1318",
}


def _variables(colours: dict[str, str]) -> str:
    return ";".join(f"--{name}:{colour}" for name, colour in colours.items())


STYLE = (
    f":root{{{_variables(LIGHT)}}}\n"
    f"@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}\n"
    """*{box-sizing:border-box}
html{scroll-padding-top:1rem}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,"Segoe UI",Roboto,sans-serif;
 -webkit-text-size-adjust:100%}
main{max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.25rem;line-height:1.3;margin:2rem 0 .5rem}
h3{font-size:1.1rem;line-height:1.35;margin:0 0 .75rem}
h4{font-size:.95rem;margin:1.25rem 0 .35rem}
p,ul,ol,dl{margin:.35rem 0}
ul,ol{padding-left:1.4rem}
h1,h2,h3,p,li,dd,td{overflow-wrap:anywhere}
a{color:var(--link)}
a:focus-visible,summary:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.muted{color:var(--muted);font-size:.875rem;font-weight:400}
article{background:var(--card);border:1px solid var(--line);border-left:6px solid var(--informational);
 border-radius:6px;padding:1rem;margin:1rem 0}
article.high{border-left-color:var(--high)}
article.medium{border-left-color:var(--medium)}
article.low{border-left-color:var(--low)}
article:target{outline:3px solid var(--link)}
.badge{display:inline-block;border-radius:4px;padding:0 .5em;font-size:.8rem;font-weight:700;
 text-transform:uppercase;color:var(--badge);background:var(--informational);white-space:nowrap}
.badge.high{background:var(--high)}
.badge.medium{background:var(--medium)}
.badge.low{background:var(--low)}
dl>div{display:grid;grid-template-columns:11rem 1fr;gap:0 1rem;padding:.1rem 0}
dt{color:var(--muted)}
dd{margin:0;white-space:pre-wrap}
dl.lead dd{font-weight:600}
dl.first dd{font-weight:600}
ul.missing{font-style:italic}
dl.ids{font-size:.875rem}
table{border-collapse:collapse;width:100%;background:var(--card);border:1px solid var(--line)}
th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid var(--line)}
td[data-label=When]{white-space:nowrap}
th{color:var(--muted);font-size:.875rem}
code,pre,ol.code{font-family:ui-monospace,"Cascadia Mono",Consolas,Menlo,monospace;font-size:.85rem}
p code,li code,dd code{background:var(--code);border-radius:3px;padding:0 .25em}
details{margin:.5rem 0}
summary{cursor:pointer;padding:.25rem 0}
pre.plain{background:var(--code);border:1px solid var(--line);border-radius:4px;padding:.5rem;margin:.25rem 0;
 white-space:pre-wrap;overflow-wrap:anywhere}
ol.code{list-style:none;margin:.25rem 0;padding:.4rem 0;background:var(--code);border:1px solid var(--line);
 border-radius:4px;line-height:1.45}
ol.code li{position:relative;padding:0 .5rem 0 4.2rem}
ol.code code{background:none;padding:0;white-space:pre-wrap;overflow-wrap:anywhere}
ol.code .number{position:absolute;left:0;width:3.5rem;text-align:right;color:var(--muted);user-select:none}
ol.code .focus{background:var(--focus)}
ol.code .focus .number{color:var(--text);font-weight:700}
ol.code .focus .number::before{content:"\\25B6\\00A0"}
ol.code .why{display:block;color:var(--why);font-family:system-ui,"Segoe UI",Roboto,sans-serif;font-weight:600}
ol.code .gap{color:var(--muted);font-style:italic}
ol.code li:target{outline:2px solid var(--link)}
ul.lines code{display:block;white-space:pre-wrap;overflow-wrap:anywhere;padding:.1rem .4rem;margin:.1rem 0 .4rem}
@media (max-width:40rem){
main{padding:.6rem}
article{padding:.75rem}
dl>div{display:block;padding:.2rem 0}
dl.lead>div{display:grid;grid-template-columns:5rem 1fr}
dt{font-size:.8rem}
table,tbody,tr,td{display:block}
thead{position:absolute;clip-path:inset(50%);height:1px;overflow:hidden}
tr{padding:.4rem 0;border-bottom:1px solid var(--line)}
td{border:0;padding:.1rem .6rem}
td::before{content:attr(data-label)": ";color:var(--muted);font-size:.8rem}
td[data-label=Severity]::before,td[data-label=Alert]::before{content:none}
ol.code li{padding-left:3rem}
ol.code .number{width:2.5rem}
}
"""
)
