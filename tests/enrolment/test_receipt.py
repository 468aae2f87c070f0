import json
import stat
from dataclasses import replace
from html import escape
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pypdfium2
import pytest

from edge_app.core.revocation import normalise_code, revocation_sha256, spoken_code
from edge_app.enrolment import receipt_pdf as pdf_module
from edge_app.enrolment.consent_notice import Notice, languages, notice_for
from edge_app.enrolment.receipt import Receipt, receipt_for, receipt_text
from edge_app.enrolment.receipt_file import (
    receipt_from_json,
    receipt_json,
    require_writable,
    write_receipt,
)
from edge_app.enrolment.receipt_page import receipt_page
from edge_app.enrolment.receipt_pdf import receipt_pdf, require_printable
from edge_app.errors import EnrolmentError
from edge_app.records import Float32Array, FrameOrigin, ImageBgr, LawfulBasis, Purpose
from tests.enrolment.test_station import agreement, enrolled, looks_of, probes
from tests.people import CONTROLLER


def notice(language: str) -> Notice:
    return notice_for(
        Purpose.ASSIST,
        language,
        controller=CONTROLLER,
        jurisdiction="Atlantis",
        valid_days=365,
        kept_days=366,
        fleet="",
    )


def receipt(language: str = "en", name: str = "Ada") -> Receipt:
    made = receipt_for(enrolled(probes(looks_of(1, 3))), notice(language), from_anywhere=True)
    return replace(made, facts=((made.facts[0][0], name), *made.facts[1:]))


def scanned(picture: ImageBgr) -> str:
    """What a phone reads."""
    text, _, _ = cv2.QRCodeDetector().detectAndDecode(picture)
    return text


def pages(pdf: bytes) -> tuple[list[ImageBgr], str]:
    """Each page as a picture, and the text of all."""
    document = pypdfium2.PdfDocument(pdf)
    pictures, texts = [], []
    for page in document:
        rendered = page.render(scale=3).to_numpy()
        pictures.append(np.ascontiguousarray(rendered[:, :, :3]))
        texts.append(page.get_textpage().get_text_range())
    document.close()
    return pictures, " ".join(" ".join(texts).split())


# -------------------------------------------------------------------------------- text


def test_receipt_says_what_was_agreed_and_how_to_leave() -> None:
    result = enrolled(probes(looks_of(1, 3)))
    text = receipt_text(receipt_for(result, agreement().notice, from_anywhere=False))
    for part in (
        "Name:           Ada",
        "Given on:       2026-03-01 12:00 UTC",
        "Holds until:    2027-03-01 12:00 UTC",
        "Erased by:      2027-03-02 12:00 UTC",
        "Basis:          your explicit consent",
        "face templates (1)",
        result.enrolment.consent.record.record_id,
        "familiar revoke",
        "complain to your data protection authority",
        agreement().notice.text.splitlines()[0],
    ):
        assert part in text
    assert text.count(spoken_code(result.revocation_code)) == 1
    assert "Demo" not in text


def test_receipt_of_a_demo_and_of_a_representative_say_so() -> None:
    demo = enrolled(probes(looks_of(1, 1), FrameOrigin.REPLAY), demo=True)
    shown = receipt_text(receipt_for(demo, agreement().notice, from_anywhere=False))
    assert "compared with replayed pictures only" in shown
    terms = agreement(Purpose.CARE, lawful_basis=LawfulBasis.LEGAL_REPRESENTATIVE)
    represented = enrolled(probes(looks_of(1, 3)), agreement=terms)
    shown = receipt_text(receipt_for(represented, terms.notice, from_anywhere=False))
    assert "your legal representative" in shown


@pytest.mark.parametrize("language", [name for name in languages() if name != "en"])
def test_a_receipt_is_in_one_language(language: str) -> None:
    english, translated = receipt(), receipt(language)
    shown = receipt_text(translated)
    for word in ("encrypted", "relation,", "templates", "from anywhere", "without", "your"):
        assert word not in shown
    same = {label for label, _ in english.facts} & {label for label, _ in translated.facts}
    assert same <= {"Name", "Notice"}
    assert "--url" in shown


def test_nothing_personal_shows_in_a_repr() -> None:
    made = receipt()
    assert made.code not in repr(made)
    assert "Ada" not in repr(made)


# ---------------------------------------------------------------------- page and paper


@pytest.mark.parametrize("language", languages())
def test_the_paper_holds_everything_and_a_code_that_a_phone_reads(language: str) -> None:
    made = receipt(language, "Zoë Müller")
    pictures, text = pages(receipt_pdf(made))
    for part in (made.title, "Zoë Müller", made.code_title, made.rights, made.leaving):
        assert " ".join(part.split()) in text
    assert made.facts[-2][1] in text
    assert made.code.replace("-", "") in text.replace("-", "").replace(" ", "")
    assert [s for p in pictures if (s := scanned(p))] == [made.code]
    assert normalise_code(made.code)
    assert "**" not in text
    assert len(pictures) <= 2


def test_the_code_scanned_is_the_one_whose_hash_was_signed() -> None:
    result = enrolled(probes(looks_of(1, 3)))
    made = receipt_for(result, notice("en"), from_anywhere=False)
    (read,) = filter(None, map(scanned, pages(receipt_pdf(made))[0]))
    record = result.enrolment.consent.record
    assert revocation_sha256(normalise_code(read)) == record.revocation_sha256


@pytest.mark.parametrize("language", languages())
def test_the_page_is_whole_and_says_its_language(language: str) -> None:
    made = receipt(language, 'Ada <b>"&')
    page = receipt_page(made)
    document = ET.fromstring(  # noqa: S314 - our own page
        page.replace("<!doctype html>", "")
        .replace('<meta charset="utf-8">', "")
        .replace('<meta name="viewport" content="width=device-width, initial-scale=1">', "")
        .replace('<meta name="robots" content="noindex">', "")
    )
    assert document.get("lang") == language
    text = " ".join(" ".join(document.itertext()).split())
    assert 'Ada <b>"&' in text
    assert made.code in text
    assert "$" not in text
    assert "**" not in text
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_the_pages_qr_code_is_the_code() -> None:
    from edge_app.enrolment.receipt_page import receipt_qr

    made = receipt()
    modules = np.array(tuple(receipt_qr(made).matrix), np.uint8)
    light = np.pad(1 - modules, 4, constant_values=1).astype(np.uint8) * np.uint8(255)
    picture = np.repeat(np.repeat(np.dstack([light] * 3), 8, axis=0), 8, axis=1)
    assert scanned(picture) == made.code


# ------------------------------------------------------------------------------- names


def test_names_of_other_scripts_are_printed_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require_printable("Zoë Ångström")
    monkeypatch.setattr(pdf_module, "_REGULAR", Path("/nonexistent"))
    with pytest.raises(EnrolmentError, match=r"fonts-dejavu-core, or write the receipt as \.html"):
        require_printable("Łukasz")
    assert "Łukasz" in receipt_page(receipt(name="Łukasz"))


def test_an_installed_font_prints_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib as mpl

    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    monkeypatch.setattr(pdf_module, "_REGULAR", fonts / "DejaVuSans.ttf")
    monkeypatch.setattr(pdf_module, "_BOLD", fonts / "DejaVuSans-Bold.ttf")
    require_printable("Łukasz Дмитрий Ελένη")
    pictures, text = pages(receipt_pdf(receipt(name="Łukasz Дмитрий")))
    assert "Łukasz Дмитрий" in text
    assert any(map(scanned, pictures))
    with pytest.raises(EnrolmentError, match="letters of this name"):
        require_printable("陳大文")
    for joined in ("محمد", "Zoe\u0308"):  # the font has the letters, and not how they meet
        with pytest.raises(EnrolmentError, match="letters of this name"):
            require_printable(joined)


def test_a_name_is_printed_as_the_display_shows_it() -> None:
    result = enrolled(probes(looks_of(1, 3)))
    person = replace(result.enrolment, name="Zoe\u0308")
    made = receipt_for(replace(result, enrolment=person), notice("en"), from_anywhere=False)
    assert made.facts[0][1] == "Zoë"


def test_nothing_in_a_name_is_read_as_markup() -> None:
    name = "A__b__ **c** --d-- [e](f) <g> ~~h~~"
    told = notice_for(
        Purpose.ASSIST,
        "en",
        controller=replace(CONTROLLER, name=name),
        jurisdiction="x",
        valid_days=1,
        kept_days=2,
        fleet="",
    )
    made = replace(receipt(), notice=told.text)
    _, text = pages(receipt_pdf(made))
    assert f"{name} would like" in " ".join(text.split())
    assert f"{escape(name)} would like" in receipt_page(made)


# ------------------------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", [".pdf", ".html", ".txt"])
def test_a_file_is_private_and_never_overwritten(tmp_path: Path, suffix: str) -> None:
    path, made = tmp_path / f"receipt{suffix}", receipt()
    write_receipt(made, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(EnrolmentError, match="name another file"):
        write_receipt(made, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["receipt", "receipt.doc", "receipt.PDF", ".pdf"])
def test_a_name_that_names_no_form_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(EnrolmentError, match=r"\.pdf, \.html, \.txt"):
        require_writable(tmp_path / name, "Ada")


def test_a_receipt_goes_through_json_and_back() -> None:
    made = receipt("fr")
    for plain in (receipt_json(made), {"person_id": "x", "receipt": receipt_json(made)}):
        assert receipt_from_json(json.dumps(plain).encode()) == made


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"null", b"\xff", b'{"facts":[]}', b'{"receipt":[]}', b"[" * 100_000],
)
def test_what_is_no_receipt_is_refused(data: bytes) -> None:
    with pytest.raises(EnrolmentError, match="no receipt"):
        receipt_from_json(data)


def test_receipts_with_strange_values_are_refused() -> None:
    for change in ({"title": 1}, {"facts": [["a"]]}, {"more": "x"}, {"facts": "ab"}):
        plain = {**receipt_json(receipt()), **change}
        with pytest.raises(EnrolmentError, match="no receipt"):
            receipt_from_json(json.dumps(plain).encode())


def test_templates_are_on_no_receipt() -> None:
    result = enrolled(probes(looks_of(1, 3)))
    embedding: Float32Array = result.enrolment.templates[0].embedding
    made = receipt_for(result, notice("en"), from_anywhere=False)
    assert f"{float(embedding[0]):.4f}" not in receipt_page(made)
