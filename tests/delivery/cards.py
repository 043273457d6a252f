"""Looking at cards: the published schema, and every text with the kind of element that holds it."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema


@functools.cache
def _validator() -> Any:
    """The Adaptive Card 1.5 schema plus the two things that Teams documents and the schema does not know."""
    schema = json.loads((Path(__file__).parent / "adaptive-card-1.5.0.json").read_text("utf-8"))
    definitions = schema["definitions"]
    definitions["AdaptiveCard"]["properties"]["msteams"] = {
        "type": "object",
        "properties": {"width": {"enum": ["Full", "full"]}, "entities": {"type": "array"}},
        "additionalProperties": False,
    }
    definitions["CodeBlock"] = {
        "type": "object",
        "properties": {
            "type": {"enum": ["CodeBlock"]},
            "codeSnippet": {"type": "string"},
            "language": {"enum": ["PowerShell", "Python", "PlainText"]},
            "startLineNumber": {"type": "integer", "minimum": 1},
            "fallback": {
                "anyOf": [
                    {"$ref": "#/definitions/ImplementationsOf.Element"},
                    {"$ref": "#/definitions/FallbackOption"},
                ]
            },
            **{name: {} for name in ("id", "isVisible", "spacing", "separator", "height", "requires")},
        },
        "required": ["codeSnippet", "language"],
        "additionalProperties": False,
    }
    choices = definitions["ImplementationsOf.Element"]["anyOf"]
    choices.append({"required": ["type"], "allOf": [{"$ref": "#/definitions/CodeBlock"}]})
    # Which choices come first changes nothing but the time: each wrong one costs a list of errors.
    usual = ("RichTextBlock", "TextBlock", "ColumnSet", "Container", "CodeBlock", "ActionSet")
    choices.sort(key=lambda choice: choice["allOf"][0]["$ref"].removeprefix("#/definitions/") not in usual)
    return jsonschema.Draft6Validator(schema)


def card_of(message: dict[str, Any]) -> dict[str, Any]:
    """The card in its message, after checking the envelope."""
    (attachment,) = message["attachments"]
    assert message == {"type": "message", "attachments": [attachment]}
    assert set(attachment) == {"contentType", "contentUrl", "content"}
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["contentUrl"] is None
    card: dict[str, Any] = attachment["content"]
    return card


def assert_valid(card: dict[str, Any]) -> None:
    """The card satisfies the schema, and no element id is used twice or toggled in vain."""
    _validator().validate(card)
    ids = [element["id"] for element in elements(card) if "id" in element]
    assert len(ids) == len(set(ids))
    targets = [target for element in elements(card) for target in element.get("targetElements", [])]
    assert set(targets) <= set(ids)


def elements(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in the card, outermost first."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from elements(value)
    elif isinstance(node, list):
        for value in node:
            yield from elements(value)


def texts(node: Any) -> list[str]:
    """What a person on a desktop reads, in order, a line per element that starts a new line. Fallbacks left out."""
    if isinstance(node, list):
        return [line for entry in node for line in texts(entry)]
    if not isinstance(node, dict):
        return []
    match node.get("type"):
        case "RichTextBlock":
            return ["".join(run["text"] for run in node["inlines"])]
        case "ColumnSet":
            return [" ".join(line for column in node["columns"] for line in texts(column))]
        case "TextBlock":
            return [node["text"]]
        case "CodeBlock":
            return node["codeSnippet"].split("\n")  # type: ignore[no-any-return]  # JSON
    return [line for key in ("body", "items", "actions") for line in texts(node.get(key, []))]


def markup_texts(card: dict[str, Any]) -> list[str]:
    """Every string that a client may interpret: Markdown, titles, links. All but text runs and code."""
    found = []
    for element in elements(card):
        if element.get("type") in {"TextRun", "CodeBlock"}:
            continue
        found += [value for value in element.values() if isinstance(value, str)]
    return found
