"""Take secrets out of text before it leaves the tenant, and leave enough to see which secret it was.

Scripts, outputs and parameters are hostile and up to a megabyte long, so every pattern here is linear: each starts
at a literal or behind a look-behind that makes a run of characters be read once, and repeats are bounded and mostly
possessive. No pattern crosses a line, so a mask never moves a line number and can never hide more than its line.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

MASK = "«masked»"

_SENSITIVE = (
    r"(?:passw(?:or)?d|passphrase|\bpwd|secret|token|connection[_-]?string|sas[_-]?token"
    r"|(?:api|access|account|storage|shared|private|subscription|function)[_-]?key)"
    r"(?:[_-]?(?:text|value|plain|plaintext|string|\d{1,3}))?"
)
# A string literal without its closing quote: once the opening one was seen this matches, so an unclosed quote costs
# one pass over the line and not one per start.
_LITERAL = (
    r"(?:(?P<quote>\\{1,4}[\"'])(?P<escaped>[^\"'\\]{1,4096}+)"
    r'|"(?P<double>(?:[^"\\`]|[\\`].|""){1,4096}+)'
    r"|'(?P<single>(?:[^']|''){1,4096}+))"
)

# What the script computes is code that a responder must see, not a secret.
_COMPUTED = re.compile(
    r"\$\{?[\w:.]{1,128}\}?"  # "$password"
    r"|\{[^{}]{1,256}\}|%\(\w{1,64}\)s|%s"  # f"{password}", "%s"
    r"|[\s,)].{0,4096}",  # the text between two strings: "password=" + $x + "…"
)
_WORD = re.compile(r"[A-Za-z_][\w.]{0,255}")
_TYPE_NAMES = frozenset({"str", "string", "bytes", "securestring", "object", "none", "null", "true", "false", "any"})
_VARIABLE_BEFORE = re.compile(r"\$[\w:.{]{0,64}\Z")


def _hide(match: re.Match[str]) -> str:
    return f"{match['head']}{MASK}"


def _hide_literal(match: re.Match[str]) -> str:
    value = match["escaped"] or match["double"] or match["single"]
    if value == MASK or "$(" in value or _COMPUTED.fullmatch(value):
        return match[0]
    quote = match["quote"] or ('"' if match["double"] else "'")
    return f"{match['head']}{quote}{MASK}"


def _hide_bare(match: re.Match[str]) -> str:
    value, after = match["value"], match["after"]
    before = match.string[max(0, match.start() - 66) : match.start()]
    # In PowerShell a string that is assigned is quoted: what follows `$token=` without a quote is code.
    if _VARIABLE_BEFORE.search(before) or "$(" in value or _COMPUTED.fullmatch(value):
        return match[0]
    # A name that is called, indexed or passed on.
    if _WORD.fullmatch(value) and ((after and after in "([,)}]") or value.casefold() in _TYPE_NAMES):
        return match[0]
    return f"{match['head']}{MASK}{after}"


def _hide_piped(match: re.Match[str]) -> str:
    return match[0] if _COMPUTED.fullmatch(match["value"]) or "$(" in match["value"] else _hide(match)


def _hide_argument(match: re.Match[str]) -> str:
    return _hide_bare(match) if match["value"] else _hide_literal(match)


@dataclasses.dataclass(frozen=True)
class Pattern:
    """``needles``: lower-case texts of which a line must hold one, so that an ordinary line costs a search."""

    name: str
    needles: tuple[str, ...]
    regex: re.Pattern[str]
    replace: Callable[[re.Match[str]], str] = _hide


PATTERNS = (
    Pattern(
        "private key on one line",
        ("private key-----",),
        re.compile(
            r"(?P<head>-----BEGIN (?:[A-Z]{1,16} ){0,3}PRIVATE KEY-----)(?:\\{1,4}[nr]|[A-Za-z0-9+/= ]){16,32768}+"
        ),
    ),
    Pattern(
        "JSON web token",
        ("eyj",),
        re.compile(
            r"(?<![A-Za-z0-9_-])(?P<head>eyJ)[A-Za-z0-9_-]{8,8192}+\.[A-Za-z0-9_-]{2,16384}+"
            r"(?:\.[A-Za-z0-9_-]{0,8192}+){0,3}+"
        ),
    ),
    Pattern(
        "key in a connection string",
        ("key", "sharedaccesssignature", "sharedsecret"),
        re.compile(
            r"(?i)(?P<head>\b(?:AccountKey|SharedAccessKey|SharedAccessSignature|SharedSecretValue|AccessKey)=)"
            r"(?![$\s])[^;\"'\s]{1,4096}+"
        ),
    ),
    Pattern(
        "signature, token or key in a URL",
        ("sig=", "token=", "code=", "key=", "secret=", "assertion="),
        re.compile(
            r"(?i)(?P<head>(?:[?&]|(?<![\w$.-])(?=sig=))(?:sig|token|access_token|refresh_token|id_token|code|key"
            r"|api-?key|subscription-key|client_secret|client_assertion)=)(?![${])[^&\"'\s;<>]{1,4096}+"
        ),
    ),
    Pattern(
        "Authorization header",
        ("bearer ", "basic "),
        re.compile(
            r"(?i)(?P<head>\b(?:Bearer {1,4}+(?=[\w.~+/=-]{20})|Basic {1,4}+(?=[\w+/=]{16})))[\w.~+/=-]{16,16384}+"
        ),
    ),
    Pattern(
        "credential in a URL",
        ("://",),
        re.compile(r"(?P<head>://[^/\s:@\"'«]{1,128}+:)(?!\$)[^/\s:@\"']{1,256}+(?=@)"),
    ),
    Pattern(
        "Entra client secret",
        ("q~",),
        re.compile(r"(?<![\w~.-])(?P<head>[\w~.-]{3})\dQ~[\w~.-]{31,34}+(?![\w~.-])"),
    ),
    Pattern(
        "storage account key",
        ("==",),
        re.compile(r"(?<![A-Za-z0-9+/])(?P<head>[A-Za-z0-9+/]{4})[A-Za-z0-9+/]{82}==(?![A-Za-z0-9+/=])"),
    ),
    Pattern(
        "ConvertTo-SecureString with a literal",
        ("convertto-securestring",),
        re.compile(r"(?i)(?P<head>\bConvertTo-SecureString\b[^\"'|;)]{1,200}+)" + _LITERAL),
        _hide_literal,
    ),
    Pattern(
        "literal piped into ConvertTo-SecureString",
        ("convertto-securestring",),
        re.compile(
            r"(?i)(?P<head>(?P<q>[\"']))(?P<value>[^\"']{1,512}+)"
            r"(?=(?P=q)[ \t]{0,8}+\|[ \t]{0,8}+ConvertTo-SecureString)"
        ),
        _hide_piped,
    ),
    Pattern(
        "literal passed to a secret parameter",
        ("pass", "pwd", "secret", "key", "token", "connection"),
        re.compile(
            rf"(?i)(?P<head>(?<![\w-])--?[A-Za-z-]{{0,40}}?{_SENSITIVE}(?:[ \t]{{1,8}}+|:[ \t]{{0,8}}+))"
            rf"(?:{_LITERAL}|(?P<value>(?![\"'$(@;|,{{}}-])[^\s\"'();|,}}]{{3,512}}+)(?P<after>[(\[]?))"
        ),
        _hide_argument,
    ),
    Pattern(
        "literal assigned to a secret name",
        ("pass", "pwd", "secret", "key", "token", "connection"),
        re.compile(
            rf"(?i)(?P<head>{_SENSITIVE}\\{{0,4}}+[\"']?\]?[ \t]{{0,40}}+(?:=>|:=|\+=|=(?!=)|:(?!:))[ \t]{{0,40}}+"
            rf"[bfru]{{0,2}}+){_LITERAL}"
        ),
        _hide_literal,
    ),
    Pattern(
        "bare value after a secret name",
        ("pass", "pwd", "secret", "key", "token", "connection"),
        re.compile(
            rf"(?i)(?P<head>{_SENSITIVE}(?:=(?!=)|[\"']?[ \t]{{0,40}}+:(?![:/])[ \t]{{0,4}}+))"
            r"(?P<value>(?![$(@\[{<=])[^\s\"'&;,(){}\[\]<>\\]{1,512}+)(?P<after>[(\[,)}\]]?)"
        ),
        _hide_bare,
    ),
)
_ROUNDS = 4

_KEY_HEAD = re.compile(r"-----BEGIN (?:[A-Z]{1,16} ){0,3}PRIVATE KEY-----")
_KEY_END = re.compile(r"-----END (?:[A-Z]{1,16} ){0,3}PRIVATE KEY-----")
# 40 characters without a blank: nothing shorter may vanish, or a header in a comment would hide commands.
_KEY_LINE = re.compile(r"[\s\"'+`]{0,64}+[A-Za-z0-9+/=]{40,200}+(?:\\[nr]){0,2}+[\s\"'+`,]{0,64}+")
_KEY_LAST_LINE = re.compile(r"[\s\"'+`]{0,64}+[A-Za-z0-9+/=]{1,200}+(?:\\[nr]){0,2}+[\s\"'+`,]{0,64}+")

_SECRET_NAME = re.compile(
    r"passw|passphrase|pwd|secret|token|sas(?![a-z])|connection_?-?string|^(?:key|pass|pin|sig)$"
    r"|(?:api|access|account|storage|shared|private|function)_?-?key",
    re.IGNORECASE,
)
_NOT_SECRET_NAME = re.compile(r"(?:name|id|url|uri|type|length|expiry|expires|count|enabled)$", re.IGNORECASE)


def mask(text: str) -> str:
    """*text* with each secret replaced by ``«masked»``; same number of lines; ``mask(mask(t)) == mask(t)``.

    Recognised: JSON web tokens, storage and service-bus keys, SAS signatures, webhook and function keys in URLs,
    Authorization literals, PEM private keys, credentials in URLs, Entra client secrets, and literals assigned or
    passed to something whose name says password, secret, key or token. A value that the script computes stays.
    """
    lowered = text.lower()
    rows = [row for row in PATTERNS if any(needle in lowered for needle in row.needles)]
    return "\n".join(_mask_line(line, rows) for line in _mask_key_lines(text.split("\n"))) if rows else text


def is_secret_name(name: str) -> bool:
    """Whether a parameter or key of that name holds a secret (``SqlPassword`` does, ``SecretName`` does not)."""
    return _SECRET_NAME.search(name) is not None and _NOT_SECRET_NAME.search(name) is None


def mask_parameters(parameters: Mapping[str, Any] | None) -> dict[str, str]:
    """Parameters as text: ``«masked»`` when the key names a secret, otherwise the value, masked as text."""
    masked = {}
    for key, value in (parameters or {}).items():
        text = "" if value is None else str(value)
        masked[str(key)] = MASK if text and is_secret_name(str(key)) else mask(text)
    return masked


def _mask_line(line: str, rows: Sequence[Pattern]) -> str:
    for _ in range(_ROUNDS):
        masked = _mask_once(line, rows)
        if masked == line:
            return line
        line = masked
    # One replacement may complete another pattern. A line that still changes was built to: hide it whole rather
    # than show it half-masked.
    return line if _mask_once(line, rows) == line else MASK


def _mask_once(line: str, rows: Sequence[Pattern]) -> str:
    lowered = line.lower()
    for row in rows:
        if any(needle in lowered for needle in row.needles):
            line = row.regex.sub(row.replace, line)
    return line


def _mask_key_lines(lines: list[str]) -> Iterator[str]:
    inside = False
    for index, line in enumerate(lines):
        if _KEY_HEAD.search(line):
            inside = _KEY_END.search(line) is None
            yield line
            continue
        if inside:
            last = index + 1 < len(lines) and _KEY_END.search(lines[index + 1]) is not None
            if line == MASK or _KEY_LINE.fullmatch(line) or (last and _KEY_LAST_LINE.fullmatch(line)):
                yield MASK
                continue
            inside = not line.strip() or line.startswith(("Proc-Type:", "DEK-Info:"))
        yield line
