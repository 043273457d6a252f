"""Hypothesis strategies for alerts that an attacker wrote: markup, disguises, floods."""

from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from detectors.model import Alert, AlertKind, Code, Evidence, Fact, FocusLine, Severity, SummaryItem
from tests.factories import EVENT_TIME, build_alert, build_code

FLOOD = settings(
    max_examples=30,
    deadline=None,
    database=None,
    derandomize=True,
    # Shrinking an alert of half a megabyte takes minutes and makes it no easier to read.
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

MARK = "evil7marker"
"""Part of every hostile string, so that a test finds where one went."""

_TRICKS = (
    f"[{MARK}](https://{MARK}.example/login)",
    f"<a href='https://{MARK}.example'>{MARK}</a><script>alert(1)</script>",
    f"**{MARK}** `code` ~~x~~ # {MARK}",
    f"<at>{MARK}</at> @everyone",
    f"{{{{DATE(2020-01-01T00:00:00Z,SHORT)}}}} {MARK} ${{{MARK}}} @{{{MARK}()}}",
    f"\u202e{MARK}\u2066\u200b\ufeff",
    f"{MARK}\x00\x07\x1b[2J\r\n\t\u2028",
    f"{MARK} 👩‍👩‍👧‍👦🏴󠁧󠁢󠁥󠁮󠁧󠁿 مرحبا עברית 漢字",
    f"{MARK}\ud800\udfff\ud800",
    f'{MARK}","type":"TextBlock","text":"[x](https://x.example)',
    f"javascript:{MARK}",
    f"https://{MARK}.example@portal.azure.com/ {MARK}",
)

_TAILS = ("", "", "", "🙂" * 4000, '\\"' * 5000, MARK * 2000)

hostile_text: st.SearchStrategy[str] = st.builds(
    lambda trick, noise, times, tail: (trick + noise) * times + _TAILS[tail],
    st.sampled_from(_TRICKS),
    st.text(st.characters(), max_size=20),
    st.sampled_from((1, 1, 1, 3, 60)),
    # By number: Hypothesis complains about strategies whose repr is long.
    st.integers(0, len(_TAILS) - 1),
)

_facts = st.lists(st.builds(Fact, hostile_text, hostile_text), max_size=40).map(tuple)
_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | hostile_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(hostile_text, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def _codes(draw: st.DrawFn) -> Code:
    lines = draw(st.sampled_from((1, 3, 400, 5000)))
    text = "\n".join([draw(hostile_text)] * min(lines, 10) + ["x" * 30] * (lines - min(lines, 10)))
    focus = draw(st.lists(st.builds(FocusLine, st.integers(-1, 6000), hostile_text), max_size=30))
    return build_code(
        text, title=draw(hostile_text), focus=tuple(focus), language=draw(st.sampled_from(("PowerShell", MARK)))
    )


_evidence = st.builds(
    Evidence,
    name=st.just("evidence"),
    title=hostile_text,
    missing=st.none() | hostile_text,
    facts=_facts,
    code=st.lists(_codes(), max_size=3).map(tuple),
    data=st.dictionaries(hostile_text, _json, max_size=3),
)


class Hostile:
    """An alert whose repr does not flood the report of a failure. (Hypothesis takes dataclasses apart.)"""

    def __init__(self, alert: Alert) -> None:
        self.alert = alert

    def __repr__(self) -> str:
        return f"<hostile {self.alert.kind} alert>"


@st.composite
def hostile_alerts(draw: st.DrawFn) -> Hostile:
    """Alerts whose every outside text is hostile; the rule's own words are the factory's."""
    texts = {
        name: draw(hostile_text)
        for name in ("title", "operation", "outcome", "caller", "caller_ip", "resource_id", "resource_group", "account")
    }
    count = draw(st.sampled_from((0, 0, 1, 20, 300)))
    one = [draw(hostile_text) for _ in range(3)]
    items = tuple(
        SummaryItem(
            match_id=f"{number}",
            event_time=EVENT_TIME + timedelta(minutes=number),
            operation=f"{one[0][:60]}{number % 20}",
            caller=one[1],
            resource=f"{one[2]}/{number}",
        )
        for number in range(count)
    )
    alert = build_alert(
        **texts,
        kind=draw(st.sampled_from(AlertKind)),
        severity=draw(st.sampled_from(Severity)),
        severity_reasons=tuple(draw(st.lists(hostile_text, max_size=12))),
        facts=draw(_facts),
        evidence=tuple(draw(st.lists(_evidence, max_size=5))),
        items=items,
        portal_url=draw(st.just("https://portal.azure.com/#resource/x") | hostile_text),
        query_url=draw(st.just("https://portal.azure.com/#" + "q" * 3500) | hostile_text),
        row=draw(st.dictionaries(hostile_text, _json, max_size=4)),
    )
    return Hostile(alert)
