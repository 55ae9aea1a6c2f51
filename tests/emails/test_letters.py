"""Every letter a payment failure can send: the words, the escaping, and what stops a letter."""

from __future__ import annotations

import html as entities
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from activities import letters
from activities.letters import Letter, Letters, MissingField, UnknownTemplate, fields_of, render, templates

FULL: dict[str, str | int] = {
    "first_name": "Zoe",
    "company": "Northwind Labs",
    "product": "Northwind Pro",
    "amount": "$29.00",
    "card_last4": "4242",
    "update_url": "https://billing.northwind.example/i/abc?a=1&b=2",
    "days_left": 3,
    "restrict_date": "Monday 14 December",
    "suspend_date": "Wednesday 30 December",
    "reactivate_url": "https://billing.northwind.example/back?a=1&b=2",
    "next_attempt": "Monday 7 December",
    "decline": "soft",
    "postal_address": "1 Harbour Street, 20457 Hamburg, Germany",
    "support_email": "help@northwind.example",
    "invoice_number": "INV-0042",
    "days_late": 8,
}
MAILS = [f"dunning.{name}" for name in ("d0", "d3", "d7", "d10", "d14", "d30", "hard", "auth", "recovered")]
TEXT_ONLY = ["dunning.banner", "payment.call"]
KEYS = [*MAILS, *TEXT_ONLY]
DECLINES = ["soft", "hard", "authentication"]
EMPTY: dict[str, str | int] = {"first_name": "", "card_last4": "", "next_attempt": ""}
BY_CLASS = ["dunning.d3", "dunning.d7", "dunning.d10", "dunning.d14"]


def write(key: str, locale: str = "en", /, **changes: str | int) -> Letter:
    return render(key, {**FULL, **changes}, locale)


def words(html: str) -> str:
    """What a reader of the HTML part sees, as one line."""
    body = re.sub(r"<!--.*?-->", "", html.partition("<body")[2], flags=re.DOTALL)
    body = re.sub(r"</?a\b[^>]*>", "", body)
    return " ".join(entities.unescape(re.sub(r"<[^>]+>", " ", body)).split())


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)


def parts(letter: Letter) -> list[str]:
    return [letter.subject, letter.text, *([words(letter.html)] if letter.html else [])]


@pytest.mark.parametrize("decline", DECLINES)
@pytest.mark.parametrize("blank", [{}, EMPTY], ids=["full", "blank"])
@pytest.mark.parametrize("days", [4, 1, 0, -2])
@pytest.mark.parametrize("key", KEYS)
def test_every_letter_reads_clean(key: str, days: int, blank: dict[str, str | int], decline: str) -> None:
    letter = write(key, decline=decline, days_left=days, **blank)
    assert letter.subject and "\n" not in letter.subject
    for part in parts(letter):
        for wrong in ("{{", "}}", "{%", "None", " ,", " .", "..", "!", "  ,", "ending in ,", "ending in ."):
            assert wrong not in part, (wrong, part)
        assert not re.search(r"\S  +\S", part)
        assert not re.search(r"\b1 days\b", part)
    assert "\n\n\n" not in letter.text and letter.text.endswith("\n")
    if blank and key in MAILS:
        assert "Hello," in letter.text and "Hello," in words(letter.html)
        assert "ending in" not in letter.text and "ending in" not in letter.html


@pytest.mark.parametrize("key", KEYS)
def test_every_text_part_says_amount_and_link(key: str) -> None:
    letter = write(key)
    link = str(FULL["reactivate_url" if key == "dunning.d30" else "update_url"])
    assert "$29.00" in letter.text and link in letter.text
    if letter.html:
        assert letter.html.count(f'href="{link.replace("&", "&amp;")}"') == 1, "one clear button"


@pytest.mark.parametrize("decline", DECLINES)
@pytest.mark.parametrize("key", MAILS)
def test_c15_both_parts_say_the_same(key: str, decline: str) -> None:
    for blank in ({}, EMPTY):
        letter = write(key, decline=decline, **blank)
        seen = words(letter.html)
        for line in letter.text.splitlines():
            label, _, value = line.partition(": ")
            expected = [label] if value.startswith("https://") else [line]
            if label in {"Amount", "Invoice", "Card"}:
                expected = [f"{label} {value}"]
            for words_ in expected:
                assert words_.strip("-") in seen, words_


# The subject lines of the ledger's table C1.


def test_c1_1_first_mail_asks_for_a_card_update() -> None:
    letter = write("dunning.d0")
    assert letter.subject == "Payment didn't go through - update your card"
    assert "again on Monday 7 December" in letter.text
    assert "card ending in 4242" in letter.text


def test_c1_2_reminder() -> None:
    assert write("dunning.d3").subject == "Quick reminder - update your payment"
    assert write("dunning.d3", decline="hard").subject == "Quick reminder - update your payment"
    assert write("dunning.d3", decline="authentication").subject == "Quick reminder - please confirm your payment"


@pytest.mark.parametrize("decline", DECLINES)
@pytest.mark.parametrize(
    ("days", "subject"),
    [
        (3, "Account limited in 3 days"),
        (7, "Account limited in 7 days"),
        (1, "Account limited in 1 day"),
        (0, "Account limited from today"),
        (-1, "Your account is limited"),
    ],
)
def test_c1_3_urgent_mail_says_days_until_restriction(days: int, subject: str, decline: str) -> None:
    letter = write("dunning.d7", days_left=days, decline=decline)
    assert letter.subject == subject
    assert "Monday 14 December" in letter.text
    assert ("will be limited" in letter.text) == (days > 0)


@pytest.mark.parametrize("days", [4, 1])
def test_c1_4_last_call_before_restriction(days: int) -> None:
    letter = write("dunning.d10", days_left=days)
    assert letter.subject == "Last chance to keep your account active"
    assert f"in {days} day{'s' if days > 1 else ''}, your account will be limited" in letter.text


@pytest.mark.parametrize("days", [0, -3])
def test_c1_4_last_call_promises_no_chance_that_has_passed(days: int) -> None:
    for part in parts(write("dunning.d10", days_left=days)):
        assert "Last chance" not in part and "will be limited" not in part and "left to keep" not in part


def test_c1_5_final_notice_names_the_suspension_date() -> None:
    letter = write("dunning.d14")
    assert letter.subject == "Your account is restricted"
    assert "Wednesday 30 December" in letter.text


def test_c1_6_suspension_links_to_reactivation() -> None:
    letter = write("dunning.d30")
    assert letter.subject == "Service suspended"
    assert str(FULL["reactivate_url"]) in letter.text


def test_c1_7_hard_and_authentication_declines_have_their_own_mail() -> None:
    hard, auth = write("dunning.hard", decline="hard"), write("dunning.auth", decline="authentication")
    assert hard.subject == "New card needed"
    assert auth.subject == "Please confirm your payment"
    assert "no longer be charged" in hard.text and "Add a new card:" in hard.text
    assert "Your bank wants you to confirm" in auth.text and "Confirm the payment:" in auth.text


def test_c1_8_recovery_and_banner() -> None:
    assert write("dunning.recovered").subject == "Payment received"
    assert fields_of("dunning.banner") == {"amount", "update_url", "decline"}
    for key in TEXT_ONLY:
        assert write(key).html == ""


def test_c1_9_call_guide_says_amount_and_days_late() -> None:
    assert write("payment.call").subject == "Payment call: $29.00 open for 8 days"
    assert write("payment.call", days_late=1).subject == "Payment call: $29.00 open for 1 day"
    assert write("payment.call", days_late=0).subject == "Payment call: $29.00 open"


@pytest.mark.parametrize("key", BY_CLASS)
def test_p1_9_hard_decline_asks_for_a_new_card_and_promises_no_retry(key: str) -> None:
    text = write(key, decline="hard").text
    assert "Please add a new card" in text and "Add a new card: https://" in text
    assert "Monday 7 December" not in text


@pytest.mark.parametrize("key", BY_CLASS)
def test_p1_10_authentication_decline_asks_to_confirm(key: str) -> None:
    text = write(key, decline="authentication").text
    assert "Your bank wants you to confirm this payment" in text and "Confirm the payment: https://" in text
    assert "Monday 7 December" not in text and "update your card" not in text.lower()


@pytest.mark.parametrize("key", BY_CLASS)
def test_p1_2_soft_decline_says_when_it_is_tried_again(key: str) -> None:
    assert "again on Monday 7 December" in write(key).text
    assert "again" not in write(key, next_attempt="").text
    assert write(key, decline="something new") == write(key, decline="soft"), "an unknown class reads as soft"


@pytest.mark.parametrize("decline", DECLINES)
@pytest.mark.parametrize("key", [key for key in KEYS if key != "payment.call"])
def test_customer_never_sees_a_fraud_code_a_sales_pitch_or_blame(key: str, decline: str) -> None:
    said = " ".join(parts(write(key, decline=decline))).lower()
    for word in ("fraud", "stolen", "lost", "insufficient", "decline", "upgrade", "discount", "% off", "you failed",
                 "your fault", "unfortunately", "unsubscribe"):  # fmt: skip
        assert not re.search(rf"\b{word}\b", said), word


# What stops a letter.


@pytest.mark.parametrize("key", KEYS)
def test_c15_missing_merge_field_blocks_the_send(key: str) -> None:
    for name in fields_of(key):
        rest = {field: value for field, value in FULL.items() if field != name}
        with pytest.raises(MissingField) as caught:
            render(key, rest)
        assert (caught.value.key, caught.value.names) == (key, (name,))
    with pytest.raises(MissingField) as caught:
        render(key, {})
    assert set(caught.value.names) == fields_of(key)
    assert all(name in str(caught.value) for name in fields_of(key))


def test_c15_empty_field_blocks_the_send_unless_the_words_allow_it() -> None:
    with pytest.raises(MissingField) as caught:
        write("dunning.d0", amount="", update_url=" \n", first_name="")
    assert caught.value.names == ("amount", "update_url")
    with pytest.raises(MissingField):
        render("dunning.d0", {**FULL, "amount": None})  # type: ignore[dict-item]


def test_c15_a_template_has_a_version_that_follows_its_words(tmp_path: Path) -> None:
    root = tmp_path / "emails"
    shutil.copytree(letters.ROOT, root)
    before = Letters(root)
    with (root / "_decline.txt").open("a", encoding="utf-8") as part:
        part.write("More words.\n")
    after = Letters(root)
    assert before.version_of("dunning.d3") == letters.version_of("dunning.d3")
    assert before.version_of("dunning.d3") != after.version_of("dunning.d3")
    assert before.version_of("dunning.d0") == after.version_of("dunning.d0")
    assert before.version_of("dunning.d0") != before.version_of("dunning.d0", "de")


def test_unknown_template_names_the_known_ones() -> None:
    for key in ("dunning.d99", "../emails/dunning.d0", "", "_layout.mjml", "dunning.d0/de"):
        with pytest.raises(UnknownTemplate) as caught:
            render(key, FULL)
        assert caught.value.key == key
        assert caught.value.known == tuple(templates())


def test_all_templates_are_found() -> None:
    assert set(KEYS) <= set(templates())
    assert templates() == sorted(templates())


def test_merge_fields_are_the_agreed_ones() -> None:
    for key in KEYS:
        assert fields_of(key) <= FULL.keys()
    for key in MAILS:
        assert {"first_name", "company", "postal_address", "support_email", "amount"} <= fields_of(key)
        assert "days_late" not in fields_of(key)


# What a customer's own words cannot do.


@pytest.mark.parametrize("key", MAILS)
def test_html_is_escaped_and_text_is_not(key: str) -> None:
    letter = write(key, first_name="<Zoe & Co>")
    assert "Hello &lt;Zoe &amp; Co&gt;," in letter.html and "<Zoe" not in letter.html
    assert "Hello <Zoe & Co>," in letter.text and "&amp;" not in letter.text


def test_a_field_cannot_leave_an_attribute_or_pull_in_a_file() -> None:
    letter = write("dunning.d0", update_url='https://x.example/"><script>alert(1)</script>')
    seen = Tags()
    seen.feed(letter.html)
    assert "script" not in seen.names and "a" in seen.names
    letter = write("dunning.d0", first_name='<mj-include path="/etc/passwd" /> {{ amount }} {% raw %}')
    assert "root:" not in letter.html and "mj-include path=&quot;" not in letter.subject
    assert "{{ amount }}" in letter.text, "a field is never itself a template"


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\u2028", "\x0b", "\x85", "\0"])
def test_no_field_can_break_a_header(end: str) -> None:
    letter = write("payment.call", amount=f"$1{end}Bcc: all@example.com")
    assert letter.subject == "Payment call: $1 Bcc: all@example.com open for 8 days"
    letter = write("dunning.d0", first_name=f"Zoe{end}{end}Pay here")
    assert "Hello Zoe Pay here," in letter.text


def test_a_letter_loads_nothing_from_elsewhere() -> None:
    for key in MAILS:
        html = write(key).html
        links = set(re.findall(r"https?://[^\s\"'<>)]+", html)) - {"http://www.w3.org/1999/xhtml"}
        assert {link.split("/")[2] for link in links} <= {"billing.northwind.example"}, links


def test_amounts_keep_their_hard_space() -> None:
    assert "1\u00a0234,00\u00a0€" in write("dunning.d0", amount="1\u00a0234,00\u00a0€").text


# Languages.


@pytest.mark.parametrize("locale", ["de", "de-AT", "de_AT", "DE-at", "de-Latn-AT"])
def test_c15_locale_falls_back_to_its_language(locale: str) -> None:
    letter = write("dunning.d0", locale)
    assert letter.subject == "Zahlung nicht durchgegangen - bitte Karte aktualisieren"
    assert letter.text.startswith("Guten Tag Zoe,") and '<html lang="de"' in letter.html
    assert "You get" not in letter.text and "You get" not in letter.html
    assert write("dunning.d0", locale, first_name="").text.startswith("Guten Tag,")


@pytest.mark.parametrize("locale", ["en", "en-GB", "fr", "", "..", "../dunning.d3", "d"])
def test_c15_locale_without_a_translation_is_the_default(locale: str) -> None:
    assert write("dunning.d0", locale) == write("dunning.d0")
    assert write("dunning.d3", "de") == write("dunning.d3")


def test_c15_translations_have_the_same_files_and_fields() -> None:
    for folder in letters.ROOT.glob("*/*/"):
        key, locale = folder.parent.name, folder.name
        assert {path.name for path in folder.iterdir()} == {
            path.name for path in folder.parent.iterdir() if path.is_file()
        }
        assert fields_of(key, locale) <= fields_of(key)


# The frame.


@pytest.mark.parametrize("key", MAILS)
def test_html_fits_dark_mode_and_narrow_screens(key: str) -> None:
    html = write(key).html
    assert "prefers-color-scheme: dark" in html and "max-width: 479px" in html
    assert 'name="color-scheme"' in html and 'name="viewport"' in html
    assert "http://fonts" not in html and "https://fonts" not in html and "<img" not in html and "@import" not in html
    assert len(html) < 100_000, "longer mails are cut short by some readers"


def test_c15_other_mail_has_an_unsubscribe_link(tmp_path: Path) -> None:
    root = tmp_path / "emails"
    shutil.copytree(letters.ROOT, root)
    folder = root / "tips.first"
    folder.mkdir()
    (folder / "subject.txt").write_text("Tips", encoding="utf-8")
    content = "{% block content %}Text{% endblock %}"
    (folder / "body.txt").write_text('{% extends "_marketing.txt" %}' + content, encoding="utf-8")
    heading = "{% block heading %}Tips{% endblock %}"
    (folder / "body.mjml").write_text('{% extends "_marketing.mjml" %}' + heading + content, encoding="utf-8")
    book = Letters(root)
    assert "unsubscribe_url" in book.fields_of("tips.first")
    letter = book.render(
        "tips.first", {**FULL, "unsubscribe_url": "https://x.example/u?t=1&k=2", "preferences_url": "https://x"}
    )
    assert "Unsubscribe from these mails: https://x.example/u?t=1&k=2\n" in letter.text
    assert 'href="https://x.example/u?t=1&amp;k=2"' in letter.html
    assert "billing" not in words(letter.html) and "billing" not in letter.text
