"""The receipt as a PDF for a printer: real text, tagged with its language."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Final

from fontTools.ttLib import TTFont
from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import TTFFont

from edge_app.enrolment.receipt import Receipt, notice_paragraphs
from edge_app.enrolment.receipt_page import receipt_qr
from edge_app.errors import EnrolmentError

_FONTS: Final = Path("/usr/share/fonts/truetype/dejavu")  # Debian's fonts-dejavu-core
_REGULAR: Final = _FONTS / "DejaVuSans.ttf"
_BOLD: Final = _FONTS / "DejaVuSans-Bold.ttf"
_BUILT_IN: Final = "Helvetica"
_EMBEDDED: Final = "DejaVu"
_LABEL_MM: Final = 42
_QR_MM: Final = 38
_LINE_MM: Final = 5


def require_printable(text: str) -> None:
    """Pass if a PDF can show this text, e.g. a name.

    Raises:
        EnrolmentError: no font at hand has its letters.
    """
    if _is_western(text):
        return
    if not _REGULAR.exists():
        raise EnrolmentError(
            "no font here can print this name; install fonts-dejavu-core, or write the receipt as "
            ".html"
        )
    glyphs = _glyphs()
    missing = [char for char in text if not char.isspace() and ord(char) not in glyphs]
    if missing or any(map(_is_shaped, text)):
        raise EnrolmentError(
            "a PDF from here cannot show the letters of this name as they are written; write the "
            "receipt as .html"
        )


def receipt_pdf(receipt: Receipt) -> bytes:
    """The receipt on A4.

    Raises:
        EnrolmentError: it holds letters that no font here has.
    """
    texts = (*(value for _, value in receipt.facts), receipt.notice)
    for text in texts:
        require_printable(text)
    western = all(map(_is_western, texts))
    pdf = FPDF() if western else _embedding()
    font = _BUILT_IN if western else _EMBEDDED
    pdf.set_title(receipt.title)
    pdf.set_lang(receipt.language)
    pdf.set_creator("Familiar")
    pdf.set_margins(20, 18)
    pdf.set_auto_page_break(auto=True, margin=18)
    pdf.add_page()
    _heading(pdf, font, receipt.title, size_pt=18)
    _facts(pdf, font, receipt)
    _heading(pdf, font, receipt.code_title, size_pt=13)
    _code(pdf, receipt)
    _paragraph(pdf, font, receipt.leaving)
    how = f"{receipt.leave_label}: {receipt.leave_command} {receipt.leave_elsewhere}"
    _paragraph(pdf, font, how.rstrip())
    _heading(pdf, font, receipt.rights_title, size_pt=13)
    _paragraph(pdf, font, receipt.rights)
    _heading(pdf, font, receipt.notice_title, size_pt=13)
    for lead, text in notice_paragraphs(receipt.notice):
        _paragraph(pdf, font, text, lead=lead)
    content = bytes(pdf.output())
    for used in pdf.fonts.values():
        if isinstance(used, TTFFont):
            used.ttfont.close()  # fpdf2 leaves the file open
    return content


def _is_western(text: str) -> bool:
    """Whether the fonts that every PDF reader brings along have these letters."""
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _is_shaped(char: str) -> bool:
    """Whether a letter takes its form from its neighbours, which no font does by itself."""
    return unicodedata.bidirectional(char) == "AL" or unicodedata.category(char)[0] == "M"


def _embedding() -> FPDF:
    pdf = FPDF()
    pdf.add_font(_EMBEDDED, fname=_REGULAR)
    pdf.add_font(_EMBEDDED, style="B", fname=_BOLD)
    return pdf


def _glyphs() -> frozenset[int]:
    """The characters that the regular font has."""
    with TTFont(_REGULAR) as font:
        return frozenset(font.getBestCmap())


def _heading(pdf: FPDF, font: str, text: str, *, size_pt: int) -> None:
    pdf.ln(3)
    pdf.set_font(font, "B", size_pt)
    pdf.multi_cell(0, size_pt * 0.5, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pdf.ln(1)


def _paragraph(pdf: FPDF, font: str, text: str, *, lead: str = "") -> None:
    """lead: in bold, before the text. Neither is read as markup: names can hold anything."""
    pdf.set_font(font, "B", 10)
    pdf.write(_LINE_MM, f"{lead} " if lead and text else lead)
    pdf.set_font(font, "", 10)
    pdf.write(_LINE_MM, text)
    pdf.ln(_LINE_MM + 1.5)


def _facts(pdf: FPDF, font: str, receipt: Receipt) -> None:
    for label, value in receipt.facts:
        pdf.set_font(font, "B", 10)
        pdf.cell(_LABEL_MM, _LINE_MM + 0.5, label)
        pdf.set_font(font, "", 10)
        pdf.multi_cell(0, _LINE_MM + 0.5, value, new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _code(pdf: FPDF, receipt: Receipt) -> None:
    """The QR code with the code in letters beside it, never torn apart by a page's end."""
    if pdf.will_page_break(_QR_MM + 4):
        pdf.add_page()
    top = pdf.get_y()
    qr = receipt_qr(receipt)
    modules = tuple(qr.matrix)
    side_mm = _QR_MM / len(modules)
    left = pdf.l_margin
    for row, line in enumerate(modules):
        for column, dark in enumerate(line):
            if dark:
                pdf.rect(left + column * side_mm, top + row * side_mm, side_mm, side_mm, style="F")
    pdf.set_xy(left + _QR_MM + 8, top + _QR_MM / 2 - 8)
    pdf.set_font("Courier", "B", 15)
    pdf.multi_cell(0, 8, receipt.code, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pdf.set_y(top + _QR_MM + 4)
