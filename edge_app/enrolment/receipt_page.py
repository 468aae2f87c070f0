"""The receipt as a page: one file without script, to look at and to print."""

from __future__ import annotations

from html import escape

import segno

from edge_app.enrolment.receipt import Receipt, notice_paragraphs

_STYLE = """
body { font: 12pt/1.45 system-ui, sans-serif; color: #111; background: #fff; max-width: 42rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin: 1.6rem 0 .5rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0;
  overflow-wrap: anywhere }
th { font-weight: 600; white-space: nowrap }
.code { display: flex; gap: 1.5rem; align-items: center; flex-wrap: wrap; border: 2px solid #111;
  padding: 1rem; break-inside: avoid }
.code strong { font: 600 1.3rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere;
  flex: 1 12rem }
.code svg { width: 9rem; height: 9rem }
.notice { border-left: 3px solid #999; padding-left: 1rem }
@media print { body { margin: 0; max-width: none; font-size: 10.5pt } h1 { font-size: 1.4rem } }
"""


def receipt_page(receipt: Receipt) -> str:
    """The receipt as HTML. The code is on it as text and as a QR code of that text."""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(label)}</th><td>{escape(value)}</td></tr>'
        for label, value in receipt.facts
    )
    return f"""<!doctype html>
<html lang="{receipt.language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{escape(receipt.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(receipt.title)}</h1>
<table>
{rows}
</table>
<h2>{escape(receipt.code_title)}</h2>
<div class="code">
{qr_svg(receipt)}
<strong>{escape(receipt.code)}</strong>
</div>
<p>{escape(receipt.leaving)}</p>
<p>{escape(receipt.leave_label)}: <code>{escape(receipt.leave_command)}</code>
{escape(receipt.leave_elsewhere)}</p>
<h2>{escape(receipt.rights_title)}</h2>
<p>{escape(receipt.rights)}</p>
<h2>{escape(receipt.notice_title)}</h2>
<div class="notice">
{_notice_html(receipt.notice)}
</div>
</main>
</body>
</html>
"""


def receipt_qr(receipt: Receipt) -> segno.QRCode:
    """The code as it is printed, so that a phone shows what can be typed in. Level M survives a
    fold or a stain."""
    return segno.make_qr(receipt.code, error="m")


def qr_svg(receipt: Receipt) -> str:
    """The code as a QR code to put into a page."""
    svg = receipt_qr(receipt).svg_inline(border=4, omitsize=True)
    return svg.replace("<svg ", f'<svg role="img" aria-label="QR: {escape(receipt.code)}" ', 1)


def _notice_html(text: str) -> str:
    parts = []
    for lead, rest in notice_paragraphs(text):
        strong = f"<strong>{escape(lead)}</strong> " if lead else ""
        parts.append(f"<p>{strong}{escape(rest)}</p>" if rest else f"<h3>{escape(lead)}</h3>")
    return "\n".join(parts)
