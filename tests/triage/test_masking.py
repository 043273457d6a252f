"""Secrets do not leave the tenant, code does, and hostile text costs no more than its length."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detectors.triage import indicators, masking, script
from detectors.triage.masking import MASK, is_secret_name, mask, mask_parameters

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl-_"
STORAGE_KEY = "Ab1+" * 21 + "xy=="


@pytest.mark.parametrize(
    ("text", "secret", "kept"),
    [
        (f"$t = '{JWT}'", JWT[3:], "eyJ"),
        (f"Authorization: Bearer {JWT}", JWT[3:], "Bearer"),
        ("Authorization: Bearer abcdefghij1234567890", "abcdefghij1234567890", "Bearer"),
        (f"AccountName=a;AccountKey={STORAGE_KEY};EndpointSuffix=x", STORAGE_KEY, "EndpointSuffix=x"),
        (f"$k = '{STORAGE_KEY}'", STORAGE_KEY[4:], "Ab1+"),
        ("Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=abc+/=", "abc+/=", "SharedAccessKeyName=n"),
        ("https://s.blob.core.windows.net/c?sv=2024&sig=aB%2Fc%3D&se=2026", "aB%2Fc%3D", "se=2026"),
        ("https://1.webhook.we.azure-automation.net/webhooks?token=tOk%2ben%3d", "tOk%2ben%3d", "webhooks?token="),
        ("https://f.azurewebsites.net/api/x?code=k3y==", "k3y==", "api/x?code="),
        ("https://user:hunter2@host.example/x", "hunter2", "https://user:"),
        ("Server=tcp:x;User ID=sa;Password=hunter2;Encrypt=True", "hunter2", "User ID=sa"),
        ("$p = ConvertTo-SecureString 'P@ss w0rd' -AsPlainText -Force", "P@ss w0rd", "-AsPlainText"),
        ('ConvertTo-SecureString -AsPlainText -Force -String "abc!1"', "abc!1", "-String"),
        ("'P@ss w0rd' | ConvertTo-SecureString -AsPlainText -Force", "P@ss w0rd", "ConvertTo-SecureString"),
        ("Connect-X -User u -Password hunter2 -Force", "hunter2", "-Force"),
        ("Connect-X -ClientSecret:'a b c'", "a b c", "-ClientSecret:"),
        ("az login -u u --password hunter2 --tenant t", "hunter2", "--tenant t"),
        ('$sqlPassword = "it`"s ""x"" secret"', "secret", "$sqlPassword ="),
        ("api_key = 'abc'", "abc", "api_key ="),
        ('os.environ["CLIENT_SECRET"] = "abc"', "abc", "CLIENT_SECRET"),
        ('{"password":"x\\"y","user":"bob"}', "x\\", '"user":"bob"'),
        ('{\\"password\\":\\"hunter2\\",\\"user\\":\\"bob\\"}', "hunter2", "bob"),
        ("Password         : hunter2", "hunter2", "Password"),
        ("-----BEGIN RSA PRIVATE KEY-----\\nMIIEowIBAAKCAQEA7\\n-----END", "MIIEowIBAAKCAQEA7", "BEGIN RSA"),
        ("client_secret=abc8Q~" + "x" * 34, "x" * 34, "client_secret="),
    ],
)
def test_a_secret_is_masked_and_its_key_stays(text: str, secret: str, kept: str) -> None:
    assert secret in text
    masked = mask(text)
    assert secret not in masked
    assert MASK in masked
    assert kept in masked


def test_a_private_key_is_masked_line_by_line() -> None:
    body = ["MIIEowIBAAKCAQEA" + "a" * 48] * 3 + ["short=="]
    text = "\n".join(["a", "-----BEGIN RSA PRIVATE KEY-----", *body, "-----END RSA PRIVATE KEY-----", "whoami"])
    lines = mask(text).split("\n")
    assert lines[2:6] == [MASK] * 4
    assert lines[0] == "a"
    assert lines[6:] == ["-----END RSA PRIVATE KEY-----", "whoami"]


def test_a_key_header_in_a_comment_does_not_hide_the_code_below() -> None:
    text = "# -----BEGIN PRIVATE KEY-----\nwhoami\nInvoke-Expression $x\n"
    assert mask(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "$token = Get-AzAccessToken -ResourceUrl 'https://vault.azure.net'",
        "$token=Get-AzAccessToken",
        "$secret=(irm $uri).value",
        '$password = "$(Invoke-Evil)"',
        '$password = "$plain"',
        '"Bearer $token"',
        "Bearer authentication is used",
        "requests.post(url, token=token, timeout=5)",
        'url = "token=" + value + "&x=1"',
        "def login(password: str, user: str):",
        "Get-AzKeyVaultSecret -VaultName v -SecretName sql",
        "$headers = @{ 'X-IDENTITY-HEADER' = $env:IDENTITY_HEADER }",
        "Write-Output $Token.Secret",
    ],
)
def test_code_is_not_masked(text: str) -> None:
    assert mask(text) == text


def test_parameters_are_masked_by_their_name_and_by_their_text() -> None:
    parameters = {"SqlPassword": 5, "SecretName": "sql", "Url": f"https://x/?sig={'a' * 9}", "Empty": None}
    assert mask_parameters(parameters) == {
        "SqlPassword": MASK,
        "SecretName": "sql",
        "Url": f"https://x/?sig={MASK}",
        "Empty": "",
    }
    assert mask_parameters(None) == {}


@pytest.mark.parametrize("name", ["password", "ClientSecret", "SASToken", "apiKey", "storage_key", "pwd", "key"])
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["SecretName", "keyVaultName", "TokenUrl", "user", "Monkey", "VmName"])
def test_names_of_other_things_are_not_taken_for_secrets(name: str) -> None:
    assert not is_secret_name(name)


PIECES = st.sampled_from(
    [
        *(
            "password",
            "token",
            "-Password ",
            "$secret",
            "=",
            " = ",
            ":",
            '"',
            "'",
            "\\",
            "`",
            "\n",
            " ",
            "$(",
            ")",
            ";",
        ),
        *("«masked»", "«", "eyJabcdefghij", ".", "abc1", "Bearer ", "?sig=", "&token=", "://", "@", "==", "key"),
        *("AccountKey=", "ConvertTo-SecureString ", "|", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"),
        *("A" * 48, STORAGE_KEY, "1Q~" + "x" * 31, "{", "}", ","),
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join))
@example("password=password=«masked»'x'")
@example('"password="password="token:')
def test_masking_twice_is_masking_once_and_no_line_moves(text: str) -> None:
    once = mask(text)
    assert mask(once) == once
    assert once.count("\n") == text.count("\n")


@given(st.text(max_size=200))
def test_masking_takes_any_text(text: str) -> None:
    assert mask(mask(text)) == mask(text)


# --- linear time, by the shape of the patterns -----------------------------------------------------------------


def regexes() -> Iterator[tuple[str, re.Pattern[str]]]:
    for row in masking.PATTERNS:
        yield row.name, row.regex
    for indicator in indicators.INDICATORS:
        for pattern in indicator.patterns:
            yield indicator.name, pattern


def repeats(parsed: Any, depth: int = 0) -> Iterator[tuple[str, int, int]]:
    """(kind, upper bound, how many backtracking repeats of more than 64 stand around it) of every repeat."""
    for operation, argument in parsed:
        kind = str(operation)
        if kind.endswith("_REPEAT"):
            _, upper, inner = argument
            yield kind, int(upper), depth
            wide = kind != "POSSESSIVE_REPEAT" and int(upper) > 64
            yield from repeats(inner, depth + wide)
        elif isinstance(argument, tuple | list):
            for part in argument:
                branches = part if isinstance(part, list) else [part]
                for branch in branches:
                    if type(branch).__name__ == "SubPattern":
                        yield from repeats(branch, depth)
        elif type(argument).__name__ == "SubPattern":
            yield from repeats(argument, depth)


def test_the_check_below_sees_a_dangerous_pattern() -> None:
    from re import _parser  # type: ignore[attr-defined] # the only way to see a pattern's shape

    assert ("MAX_REPEAT", 100, 1) in list(repeats(_parser.parse(r"x(?:a|(?:b{1,100}c){0,200})d")))


@pytest.mark.parametrize(("name", "pattern"), list(regexes()))
def test_no_pattern_can_backtrack_without_bound(name: str, pattern: re.Pattern[str]) -> None:
    from re import _parser  # type: ignore[attr-defined] # the only way to see a pattern's shape

    for kind, upper, around in repeats(_parser.parse(pattern.pattern, pattern.flags)):
        assert upper <= 32_768, f"{name}: a {kind} without a bound"
        assert kind == "POSSESSIVE_REPEAT" or upper <= 512, f"{name}: a wide repeat that can give back"
        assert around == 0, f"{name}: a repeat inside a wide one that can give back"


@pytest.mark.parametrize(
    "unit",
    [
        "password=",
        'password="',
        "eyJa.",
        "://a:",
        "-password ",
        "Bearer ",
        "token='\\",
        "?sig=&",
        "A" * 399 + " ",
        "iex ",
    ],
)
def test_a_megabyte_of_hostile_text_is_masked_and_judged(unit: str) -> None:
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    assert mask(text).count("\n") == 0
    assert len(script.focus(text, "PowerShell")) <= script.MAX_LINES
