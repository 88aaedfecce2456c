"""The style sheet of the pictures, by day, by night and on paper.

The colours are told apart by those who see few of them (after Okabe and Ito, and Tol); marks differ in shape too, and
bands in their height and place.
"""

from __future__ import annotations

_LIGHT = """
.page{fill:#fff}.text{fill:#1b2530}.soft{fill:#5b6875}.grid{stroke:#e3e8ed}.frame{stroke:#b9c2cb}.stripe{fill:#f5f7f9}
.calm{fill:#e8f0f8}.valid{fill:#009e73}.due{fill:#f0b429}.expired{fill:#f1d5c1}.flight{fill:#0072b2}
.backing{fill:#56b4e9}.blocked{fill:#aa3377}.true{fill:#8796a5}.revoked{fill:#111820}
.fade{fill:#fff;fill-opacity:.72}.away{fill:#444f5a}.cut{fill:#444f5a}.outage{fill:#c4651b}
.granted{stroke:#007a59}.failed{stroke:#d55e00}.shut{stroke:#aa3377}.mended{stroke:#0072b2}.disturbed{stroke:#98a4b0}
.gaveup{stroke:#b02a2a}.badcall{stroke:#b02a2a}.dropped{stroke:#1b2530}.kept{stroke:#1b2530}.anew{stroke:#1b2530}
.faulty{stroke:#c4651b}.allrevoked{stroke:#111820}.rotated{stroke:#0072b2}.hole{stroke:#fff}.good{fill:#007a59}
.bad{fill:#b02a2a}.bad-line{stroke:#b02a2a}
"""

_DARK = """
.page{fill:#0f151b}.text{fill:#e4eaf0}.soft{fill:#97a3af}.grid{stroke:#25303a}.frame{stroke:#46535f}.stripe{fill:#151d25}
.calm{fill:#16232f}.valid{fill:#12a97f}.due{fill:#f2c14e}.expired{fill:#4a3527}.flight{fill:#3d9be0}
.backing{fill:#8fcdf2}.blocked{fill:#d071a8}.true{fill:#7f8e9d}.revoked{fill:#fff}
.fade{fill:#0f151b}.away{fill:#c3ccd5}.cut{fill:#aab5bf}.outage{fill:#e08a45}
.granted{stroke:#3fd0a5}.failed{stroke:#f08a55}.shut{stroke:#e08abb}.mended{stroke:#5fb2ee}.disturbed{stroke:#6b7884}
.gaveup{stroke:#f08080}.badcall{stroke:#f08080}.dropped{stroke:#e4eaf0}.kept{stroke:#e4eaf0}.anew{stroke:#e4eaf0}
.faulty{stroke:#e08a45}.allrevoked{stroke:#fff}.rotated{stroke:#5fb2ee}.hole{stroke:#0f151b}.good{fill:#3fd0a5}
.bad{fill:#f08080}.bad-line{stroke:#f08080}
"""

STYLE = f"""
svg{{font:11px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}}
.title{{font-size:16px;font-weight:600}}.name{{font-weight:600}}.small{{font-size:9.5px}}
.grid,.frame{{fill:none;stroke-width:1;vector-effect:non-scaling-stroke;shape-rendering:crispEdges}}
.mark{{fill:none;vector-effect:non-scaling-stroke}}
.tick{{stroke-width:1.2}}.small-mark{{stroke-width:1}}.dot{{stroke-width:5;stroke-linecap:round}}
.square{{stroke-width:4.6}}.ring{{stroke-width:6;stroke-linecap:round}}
.hole{{stroke-width:3;stroke-linecap:round}}.wall{{stroke-width:1.2;stroke-dasharray:2 2}}
{_LIGHT.strip()}
@media (prefers-color-scheme:dark){{
{_DARK.strip()}
}}
@media print{{
{_LIGHT.strip()}
}}
"""
