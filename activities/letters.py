"""Letters: the words a playbook sends, from the templates in `emails/`.

Pure rendering. The template folder is read once, at first use; after that nothing here touches a disk or a network.
One folder a template (`emails/<key>/`) with `subject.txt`, `body.txt` and, for mail, `body.mjml`. A translation is a
folder of the same files inside it, named by its locale: `emails/dunning.d0/de/`. Files beginning with `_` are shared.
A template says in its subject what it is about, for people to choose by (`models.consent`): `{% set about = "tips" %}`.

A field that is absent, or empty where the words need it, stops the letter before anything is rendered (ledger C15).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import css_inline
import mjml
from jinja2 import DictLoader, Environment, StrictUndefined, meta, nodes, select_autoescape

ROOT = Path(__file__).resolve().parent.parent / "emails"
DEFAULT_LOCALE = "en"

# The words read right without these; every other field must say something.
MAY_BE_EMPTY = frozenset(
    {
        "first_name",
        "card_last4",
        "next_attempt",
        "account_name",
        "open_items",
        "goals",
        "handoff",
        "usage_summary",
        "unused_feature",
    }
)

ABOUT = "about"
_SUBJECT, _HTML, _TEXT = "subject.txt", "body.mjml", "body.txt"
# Line breaks and other control characters, and the marks that turn the reading direction of what follows.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]+")


class LetterError(LookupError):
    """A letter cannot be written as asked; asking again will not help."""


class UnknownTemplate(LetterError):
    """There is no template of this key; the text names those there are."""

    def __init__(self, key: str, known: Iterable[str]) -> None:
        self.key = key
        self.known = tuple(sorted(known))
        super().__init__(f"no template {key!r}; known: {', '.join(self.known)}")


class MissingField(LetterError):
    """Merge fields of a template were not given, so that nothing is sent (C15); the text names them."""

    def __init__(self, key: str, names: Iterable[str]) -> None:
        self.key = key
        self.names = tuple(sorted(names))
        super().__init__(f"template {key!r} lacks merge fields: {', '.join(self.names)}")


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter ready to send. `html` is empty for a template that has only text."""

    subject: str
    html: str
    text: str


@dataclass(frozen=True, slots=True)
class _Folder:
    """One template in one language."""

    name: str  # "dunning.d0" or "dunning.d0/de"
    html: bool
    fields: frozenset[str]
    version: str

    def files(self) -> Iterator[str]:
        yield f"{self.name}/{_SUBJECT}"
        yield f"{self.name}/{_TEXT}"
        if self.html:
            yield f"{self.name}/{_HTML}"


class Letters:
    """The templates of one folder, read and parsed."""

    def __init__(self, root: Path = ROOT) -> None:
        self._sources = {
            path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
            for path in sorted(root.rglob("*"))
            if path.suffix in {".txt", ".mjml"}
        }
        self._env = Environment(
            loader=DictLoader(self._sources),
            undefined=StrictUndefined,
            # `.mjml` is markup and is escaped, as is anything unknown; a text part and a subject are not markup.
            autoescape=select_autoescape(disabled_extensions=("txt",), default=True, default_for_string=True),
            auto_reload=False,
            cache_size=-1,
        )
        self._files: dict[str, tuple[set[str], list[str]]] = {}
        self._known: dict[str, _Folder] = {}
        # Without `keep_at_rules` the rules for dark mode and narrow screens would be thrown away.
        self._inliner = css_inline.CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)

    @cached_property
    def _folders(self) -> dict[str, dict[str, str]]:
        """key -> lower-case locale -> the folder's name; the default language under the locale ""."""
        found: dict[str, dict[str, str]] = {}
        for path in self._sources:
            name, _, file = path.rpartition("/")
            key, _, locale = name.partition("/")
            if file != _SUBJECT or not key or key.startswith("_") or "/" in locale:
                continue
            found.setdefault(key, {})[locale.lower()] = name
        return {key: locales for key, locales in found.items() if "" in locales}

    def _folder(self, name: str) -> _Folder:
        # Only what is asked for is parsed, and only once: all of it takes half a second.
        if name not in self._known:
            self._known[name] = self._look_into(name)
        return self._known[name]

    def _look_into(self, name: str) -> _Folder:
        draft = _Folder(name, f"{name}/{_HTML}" in self._sources, frozenset(), "")
        fields: set[str] = set()
        seen: set[str] = set()
        waiting = list(draft.files())
        while waiting:
            path = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            uses, refers_to = self._parsed(path)
            fields |= uses
            waiting += refers_to
        digest = hashlib.sha256()
        for path in sorted(seen):
            digest.update(f"{path}\0{self._sources[path]}\0".encode())
        return _Folder(name, draft.html, frozenset(fields - {"self"}), digest.hexdigest()[:12])

    def _parsed(self, path: str) -> tuple[set[str], list[str]]:
        """The fields a file uses and the files it refers to. Most files of a letter are shared."""
        if path not in self._files:
            tree = self._env.parse(self._sources[path])
            others = [other for other in meta.find_referenced_templates(tree) if other]
            self._files[path] = (meta.find_undeclared_variables(tree), others)
        return self._files[path]

    def _find(self, key: str, locale: str) -> _Folder:
        locales = self._folders.get(key)
        if locales is None:
            raise UnknownTemplate(key, self._folders)
        wanted = locale.replace("_", "-").lower()
        while wanted:
            if wanted in locales:
                return self._folder(locales[wanted])
            wanted = wanted.rpartition("-")[0]
        return self._folder(locales[""])

    def templates(self) -> list[str]:
        """The keys of all templates."""
        return sorted(self._folders)

    def fields_of(self, key: str, locale: str = DEFAULT_LOCALE) -> frozenset[str]:
        """The merge fields a template uses, its layout's among them."""
        return self._find(key, locale).fields

    def topic_of(self, key: str) -> str:
        """What a template says it is about; empty if it does not. Translations are about the same."""
        self._find(key, DEFAULT_LOCALE)
        for node in self._env.parse(self._sources[f"{key}/{_SUBJECT}"]).find_all(nodes.Assign):
            if isinstance(node.target, nodes.Name) and node.target.name == ABOUT and isinstance(node.node, nodes.Const):
                return str(node.node.value)
        return ""

    def locales_of(self, key: str) -> list[str]:
        """The languages a template is written in, the default one first."""
        self._find(key, DEFAULT_LOCALE)
        return [DEFAULT_LOCALE, *sorted(name.partition("/")[2] for each, name in self._folders[key].items() if each)]

    def version_of(self, key: str, locale: str = DEFAULT_LOCALE) -> str:
        """A fingerprint of a template's words and layout, 12 hexadecimal digits (C15)."""
        return self._find(key, locale).version

    def missing(self, key: str, fields: Mapping[str, str | int], locale: str = DEFAULT_LOCALE) -> set[str]:
        """The fields without which the letter would not be written; none: it would be."""
        folder = self._find(key, locale)
        return _missing(folder, _values(folder, fields))

    def render(self, key: str, fields: Mapping[str, str | int], locale: str = DEFAULT_LOCALE) -> Letter:
        """Write the letter. Raises `UnknownTemplate` or `MissingField` before a word is written."""
        folder = self._find(key, locale)
        values = _values(folder, fields)
        missing = _missing(folder, values)
        if missing:
            raise MissingField(key, missing)
        html = ""
        if folder.html:
            # All of it takes a third of a millisecond, so no customer's letter is kept in a cache.
            # No `fonts`: a mail loads nothing from elsewhere.
            markup = self._env.get_template(f"{folder.name}/{_HTML}").render(values)
            html = str(self._inliner.inline(mjml.mjml2html(markup, fonts={})))
        return Letter(
            subject=_one_line(self._env.get_template(f"{folder.name}/{_SUBJECT}").render(values)),
            html=html,
            text=_tidy(self._env.get_template(f"{folder.name}/{_TEXT}").render(values)),
        )


def _values(folder: _Folder, fields: Mapping[str, str | int]) -> dict[str, str | int]:
    return {name: _said(fields[name]) for name in folder.fields if fields.get(name) is not None}


def _missing(folder: _Folder, values: Mapping[str, str | int]) -> set[str]:
    return {name for name in folder.fields if values.get(name, "") == "" and not _may_stay_empty(name, values)}


def _may_stay_empty(name: str, values: Mapping[str, object]) -> bool:
    return name in MAY_BE_EMPTY and name in values


def _said(value: str | int) -> str | int:
    """A number stays one, so that a template can compare it; text is made safe."""
    return value if isinstance(value, int) else _one_line(value)


def _one_line(value: str | int) -> str:
    """No field can end a header line, begin a paragraph of its own, or turn the text after it round."""
    return re.sub(" {2,}", " ", _CONTROL.sub(" ", str(value))).strip()


def _tidy(text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines).strip() + "\n"


@lru_cache(maxsize=1)
def _letters() -> Letters:
    return Letters()


def templates() -> list[str]:
    """The keys of all templates, sorted."""
    return _letters().templates()


def fields_of(key: str, locale: str = DEFAULT_LOCALE) -> frozenset[str]:
    """The merge fields a template uses, those of its layout included."""
    return _letters().fields_of(key, locale)


@lru_cache(maxsize=1024)
def topic_of(key: str) -> str:
    """What a template is about: one of `models.topics.TOPICS` or `FIXED`. Raises `UnknownTemplate`."""
    return _letters().topic_of(key)


def locales_of(key: str) -> list[str]:
    """The languages a template is written in, the default one first. Raises `UnknownTemplate`."""
    return _letters().locales_of(key)


def version_of(key: str, locale: str = DEFAULT_LOCALE) -> str:
    """A short fingerprint of a template's words and layout, to store with what was sent (ledger C15)."""
    return _letters().version_of(key, locale)


def missing(key: str, fields: Mapping[str, str | int], locale: str = DEFAULT_LOCALE) -> set[str]:
    """The fields a letter lacks (C15). Raises `UnknownTemplate`."""
    return _letters().missing(key, fields, locale)


def render(key: str, fields: Mapping[str, str | int], locale: str = DEFAULT_LOCALE) -> Letter:
    """One letter. Fields the template does not use are ignored.

    Raises `UnknownTemplate`, or `MissingField` with every missing name, before anything is rendered.
    """
    return _letters().render(key, fields, locale)
